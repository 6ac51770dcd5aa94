package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/facet-search/facet/internal/testenv"
)

// TestMain lets the test binary be the command, so that exit codes are those of a real process.
func TestMain(m *testing.M) {
	if os.Getenv("FACET_TEST_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// commandTime is more than any command of a test takes.
const commandTime = 4 * time.Minute

// command is a run of the command. One that hangs says where, and fails its own test.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	testenv.ONNXRuntime(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) } // Go prints all its stacks
	c.WaitDelay = 10 * time.Second
	c.Env = append(os.Environ(), "FACET_TEST_COMMAND=1")
	return c
}

// facet runs the command and returns its exit code and what it printed.
func facet(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := command(t, args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	begun := time.Now()
	err := c.Run()
	if time.Since(begun) >= commandTime { // Go ends with 2 when it is told to quit, as bad usage does
		t.Fatalf("facet %v hangs:\n%s", args, errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestExitCodes(t *testing.T) {
	model := testenv.Shared(t, "models/fashion/model.onnx")
	gallery, dir := testenv.Fashion(t, 40), t.TempDir()
	job := func(more string) string {
		return write(t, filepath.Join(dir, "job.yaml"), "gallery: "+gallery+"\nmodel: "+model+"\noutput: "+dir+"/out\n"+more)
	}
	for _, c := range []struct {
		what, job string
		args      []string
		code      int
		says      string
	}{
		{"an unknown command", "", []string{"dance"}, exitUsage, "dance"},
		{"an unknown flag", "", []string{"index", "--fast"}, exitUsage, "--fast"},
		{"an argument too many", "", []string{"index", "x"}, exitUsage, "x"},
		{"an unknown key", "speed: high\n", []string{"index", "-c", "JOB"}, exitUsage, "job.yaml:4:1: unknown field \"speed\""},
		{"a bad value", "limits: {reject: 3}\n", []string{"index", "-c", "JOB"}, exitUsage, "job.yaml:4: limits.reject: is 3"},
		{"nothing to read", "", []string{"verify", "--output", dir + "/none"}, exitError, "no snapshot"},
		{"a night", "", []string{"index", "-c", "JOB", "--tasks", "usage,gender"}, exitOK, ""},
		{"what it published", "", []string{"verify", "--output", dir + "/out"}, exitOK, ""},
		// Elsewhere: below the first output its empty table would lie beside those that the snapshot names.
		{"too many rejects", "limits: {pixels: 100}\n", []string{"index", "-c", "JOB", "--output", dir + "/rejected"}, exitRejects, "limits.reject"},
		{"a key that is not there", "", []string{"search", "--output", dir + "/out", "--task", "usage", "--key", "x"}, exitError, "no such key"},
		{"an evaluation of nothing", "", []string{"evaluate"}, exitUsage, "gallery: is missing"},
		{"an evaluation of two things", "", []string{"evaluate", "--model", model, "--output", dir + "/out"}, exitUsage, "output: is given beside"},
		{"a comparison without a job", "", []string{"compare"}, exitUsage, "-c"},
		{"a picture of nothing", "", []string{"picture", "--to", dir + "/p.png"}, exitUsage, "--key"},
	} {
		for i := range c.args {
			if c.args[i] == "JOB" {
				c.args[i] = job(c.job)
			}
		}
		code, _, errs := facet(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s", c.what, code, c.code, c.says, errs)
		}
	}
	items, err := filepath.Glob(dir + "/out/items/*")
	if err != nil || len(items) == 0 {
		t.Fatalf("items: %v, %v", items, err)
	}
	write(t, items[0], "x")
	if code, out, _ := facet(t, "verify", "--output", dir+"/out"); code != exitDifferences || !strings.Contains(out, items[0][len(dir)+5:]) {
		t.Errorf("a damaged snapshot: exit code %d, want %d:\n%s", code, exitDifferences, out)
	}
}

func TestIndexJSON(t *testing.T) {
	out := t.TempDir()
	code, stdout, stderr := facet(t, "index", "--json", "--gallery", testenv.Fashion(t, 30), "--output", out,
		"--model", testenv.Shared(t, "models/fashion/model.onnx"))
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	var r struct {
		Snapshot string
		Ledger   struct{ Listed, Embedded int }
		Seconds  float64
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Snapshot == "" || r.Ledger.Embedded != 30 || r.Seconds <= 0 {
		t.Errorf("%v: %s", err, stdout)
	}
	for line := range strings.Lines(stderr) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a log line is no JSON: %s", line)
		}
	}
}

// Ctrl-C ends the run with 130, publishes nothing, and leaves nothing in the scratch folder.
func TestSignals(t *testing.T) {
	gallery := testenv.Fashion(t, 2000)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		out, scratch := t.TempDir(), t.TempDir()
		c := command(t, "index", "--gallery", gallery, "--output", out, "--scratch", scratch, "--model", testenv.Shared(t, "models/fashion/model.onnx"))
		var errs strings.Builder
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// The listing's folder appears once the work has begun.
		for range 600 {
			if made, _ := filepath.Glob(scratch + "/facet-index-*/items-*"); len(made) > 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		if code := c.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("%v: exit code %d, want %d:\n%s", signal, code, exitInterrupted, errs.String())
		}
		if left, _ := os.ReadDir(scratch); len(left) > 0 {
			t.Errorf("%v: %s is left in the scratch folder", signal, left[0].Name())
		}
		if _, err := os.Stat(filepath.Join(out, "CURRENT")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: CURRENT: %v", signal, err)
		}
	}
}

func TestModelInspect(t *testing.T) {
	code, out, errs := facet(t, "model", "inspect", testenv.Shared(t, "models/fashion/model.onnx"))
	for _, want := range []string{"articleType", "embedding_usage", "[n 3 64 64]", "stretch", "digest"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in\n%s%s", code, want, out, errs)
		}
	}
}

// Cut in two and joined again, a model's tasks have the digests that they had; nothing is overwritten
// unless that is asked for.
func TestModelRewrites(t *testing.T) {
	reference, dir := testenv.Shared(t, "models/fashion/model.onnx"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	scales := write(t, at("scales.yaml"), "sites: [auto:stage4, auto:embedding]\ntasks:\n  loud: ["+ones(128)+", "+ones(128)+"]\n")
	short := write(t, at("short.yaml"), "sites: [auto:stage4]\ntasks: {loud: [[1, 2]]}\n")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"cut REF --tasks usage,gender -o one.onnx", exitOK, "2 tasks"},
		{"cut REF --tasks baseColour -o two.onnx", exitOK, "1 tasks"},
		{"add-task one.onnx --from two.onnx -o three.onnx", exitOK, "3 tasks"},
		{"fold three.onnx -o folded.onnx", exitOK, "before: 3 tasks"},
		{"prune folded.onnx --multiple 8 -o pruned.onnx", exitOK, "3 tasks"},
		{"weave two.onnx --scales SCALES -o woven.onnx", exitOK, "1 tasks"},
		{"inspect woven.onnx", exitOK, "(0 of 128 dead)"},
		{"sites REF", exitOK, "auto:stage4 = \"/b5/a/a.2/Relu_output_0\" [128 8 8]"},
		{"fold three.onnx -o folded.onnx", exitUsage, "folded.onnx is there already"},
		{"fold three.onnx -o three.onnx", exitUsage, "three.onnx is there already"},
		{"fold folded.onnx -o folded.onnx --force", exitOK, "3 tasks"},
		{"fold three.onnx", exitUsage, "--output is missing"},
		{"fold -o x.onnx", exitUsage, "want one ONNX file"},
		{"fold none.onnx -o x.onnx", exitUsage, "none.onnx"},
		{"fold SCALES -o x.onnx", exitUsage, "not an ONNX file"},
		{"weave two.onnx -o x.onnx", exitUsage, "want --scales"},
		{"weave two.onnx --tasks a -o x.onnx", exitUsage, "want --sites"},
		{"weave two.onnx --scales SCALES --tasks quiet -o x.onnx", exitUsage, "no scales of task \"quiet\""},
		{"weave two.onnx --scales SHORT -o x.onnx", exitUsage, "task \"loud\" has 2 scales for auto:stage4"},
		{"weave two.onnx --tasks a --sites auto:stage9 -o x.onnx", exitUsage, "auto:stage4 = "},
		{"weave REF --scales SCALES -o x.onnx", exitUsage, "name the one to weave into"},
		{"prune folded.onnx --multiple 0 -o x.onnx", exitUsage, "--multiple is 0"},
		{"cut REF --tasks size -o x.onnx", exitUsage, "no task \"size\""},
		{"add-task one.onnx -o x.onnx", exitUsage, "--from is missing"},
		{"add-task one.onnx --from one.onnx -o x.onnx", exitUsage, "two tasks are named"},
	} {
		args := strings.Fields(c.args)
		for i, a := range args {
			if full, ok := map[string]string{"REF": reference, "SCALES": scales, "SHORT": short}[a]; ok {
				args[i] = full
			} else if strings.HasSuffix(a, ".onnx") {
				args[i] = at(a)
			}
		}
		code, out, errs := facet(t, append([]string{"model"}, args...)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("facet model %s: exit code %d, want %d, and %q in\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
	_, before, _ := facet(t, "model", "digest", reference)
	code, after, _ := facet(t, "model", "digest", at("three.onnx"))
	for line := range strings.Lines(after) {
		if !strings.HasSuffix(line, " file\n") && !strings.Contains(before, line) {
			t.Errorf("digest %s is none of\n%s", line, before)
		}
	}
	if code != exitOK || strings.Count(after, "\n") != 5 {
		t.Errorf("exit code %d, digests\n%s", code, after)
	}
	if left, _ := filepath.Glob(at(".facet-*")); len(left) > 0 || exists(at("x.onnx")) {
		t.Errorf("left behind: %v, or the output of a refused command", left)
	}
}

// ones is a YAML list of n ones.
func ones(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1, ", n), ", ") + "]" }

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
