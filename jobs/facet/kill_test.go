package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// killing is a gallery in a bucket, and runs over it that are killed at random.
type killing struct {
	t      *testing.T
	images store.Store
	random *rand.Rand
	whole  time.Duration // that an undisturbed night takes
	kills  int
	by     map[string]int // kills, by what the run was doing
}

func newKilling(t *testing.T, images int, seed uint64) *killing {
	t.Helper()
	storetest.VersityGW(t)
	k := &killing{t: t, images: openStore(t, "s3://facet/images/"), random: rand.New(rand.NewPCG(seed, 1)), by: map[string]int{}}
	testenv.FashionEach(t, images, func(name string, data []byte) { k.put(name, data) })
	k.put("empty.jpg", nil)
	k.put("page.jpg", []byte("<html>not found</html>"))
	return k
}

func openStore(t *testing.T, address string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (k *killing) put(name string, data []byte) {
	k.t.Helper()
	if _, err := k.images.Put(k.t.Context(), name, bytes.NewReader(data), int64(len(data)), store.Condition{}); err != nil {
		k.t.Fatal(err)
	}
}

// change makes the next night one of differences: some images have another's bytes, some have gone,
// some have come.
func (k *killing) change() {
	k.t.Helper()
	var names []string
	for r, err := range k.images.List(k.t.Context(), "") {
		if err != nil {
			k.t.Fatal(err)
		}
		names = append(names, r.Key)
	}
	for i, name := range names {
		data, _, err := store.ReadObject(k.t.Context(), k.images, names[(i+7)%len(names)], nil, 1<<20)
		if err != nil {
			k.t.Fatal(err)
		}
		switch i % 23 {
		case 3:
			k.put(name, append(data, "a trailer that makes it another content"...))
		case 9:
			k.put("new-"+name, data)
		case 15:
			if err := k.images.Delete(k.t.Context(), name); err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

func (k *killing) command(output string) *exec.Cmd {
	return command(k.t, "index", "--json", "--gallery", k.images.String(), "--output", output, "--shard-size", "20", "--tasks", "gender,usage",
		"--index", "default=Flat", "--index", "usage=IVF4,Flat", "--reject", "0.1", "--scratch", k.t.TempDir(),
		"--model", testenv.Shared(k.t, "models/fashion/model.onnx"))
}

// undisturbed runs a night that nobody disturbs.
func (k *killing) undisturbed(output string) {
	k.t.Helper()
	begun := time.Now()
	c := k.command(output)
	var errs strings.Builder
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		k.t.Fatalf("%v\n%s", err, errs.String())
	}
	k.whole = time.Since(begun)
}

// disturbed runs a night as often as it takes, and kills at most so many of the runs.
func (k *killing) disturbed(output string, most int) {
	k.t.Helper()
	for n := 0; ; n++ {
		killed, code, errs := k.run(output, n < most)
		switch {
		case strings.Contains(errs, sinks.ErrLeased.Error()):
			k.t.Fatalf("a dead run keeps the output:\n%s", errs)
		case code == exitOK:
			return
		case !killed || code != exitInterrupted && code != -1:
			k.t.Fatalf("killed %v, exit code %d:\n%s", killed, code, errs)
		}
		k.kills++
	}
}

// run runs a night and, if wanted, kills it: after some time, or when it says that it has reached some
// point.
func (k *killing) run(output string, kill bool) (killed bool, code int, errs string) {
	k.t.Helper()
	c := k.command(output)
	pipe, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	var log strings.Builder
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(io.TeeReader(pipe, &log)); s.Scan(); {
			lines <- s.Text()
		}
	}()
	doing := "start"
	if !kill {
		for range lines {
		}
	} else {
		doing, killed = k.await(c.Process, lines)
	}
	_ = c.Wait() // the code says it
	if code = c.ProcessState.ExitCode(); code != exitOK && killed {
		k.by[doing]++
	}
	return killed, code, log.String()
}

// await sends the signal at a moment of its choice, and waits for the end.
func (k *killing) await(p *os.Process, lines <-chan string) (doing string, killed bool) {
	signals := []os.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, os.Interrupt}
	signal := signals[k.random.IntN(len(signals))]
	phases := []string{"list", "compare", "embed", "index", "check"}
	phase := phases[k.random.IntN(len(phases))]
	timer := time.NewTimer(time.Duration(k.random.Float64() * float64(k.whole)))
	defer timer.Stop()
	if k.random.IntN(2) == 0 {
		timer.Stop()
	} else {
		phase = "never"
	}
	doing = "start"
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return doing, killed
			}
			for _, name := range phases {
				if strings.Contains(line, `"done"`) && strings.Contains(line, `"phase":"`+name+`"`) {
					doing = "after " + name
					if name == phase {
						timer.Reset(time.Duration(k.random.Float64() * float64(200*time.Millisecond)))
					}
				}
			}
		case <-timer.C:
			killed = p.Signal(signal) == nil
		}
	}
}

// snapshotText is a snapshot without what differs between two outputs: ids, times and latencies.
func snapshotText(t *testing.T, s *sinks.Snapshot) string {
	t.Helper()
	m := *s.Manifest
	m.Created, m.Files = time.Time{}, slices.Clone(m.Files)
	for i, f := range m.Files {
		if f.Kind == sinks.IndexInfos {
			m.Files[i].SHA256, m.Files[i].Bytes = "", 0
		}
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), m.Snapshot, "THIS")
	if m.Parent != nil {
		text = strings.ReplaceAll(text, *m.Parent, "PARENT")
	}
	return text
}

// same wants two outputs' current snapshots to be equal, byte for byte, ids included.
func (k *killing) same(a, b string) {
	k.t.Helper()
	var texts [2]string
	for i, output := range []string{a, b} {
		s, err := sinks.OpenCurrent(k.t.Context(), openStore(k.t, output))
		if err != nil {
			k.t.Fatal(err)
		}
		texts[i] = snapshotText(k.t, s)
	}
	if d := testenv.Difference(texts[1], texts[0]); d != "" {
		k.t.Errorf("after %d kills, the manifest of %s: %s", k.kills, b, d)
	}
	if code, out, errs := facet(k.t, "verify", "--output", b); code != exitOK {
		k.t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
}

// clean collects garbage, and wants every object that is left to be named by a snapshot.
func (k *killing) clean(output string) {
	k.t.Helper()
	if code, _, errs := facet(k.t, "gc", "--output", output, "--keep", "9"); code != exitOK {
		k.t.Fatalf("gc: exit code %d\n%s", code, errs)
	}
	objects := openStore(k.t, output)
	named := map[string]bool{sinks.CurrentPath: true, sinks.LeasePath: true}
	s, err := sinks.OpenCurrent(k.t.Context(), objects)
	for ; err == nil; s, err = sinks.OpenSnapshot(k.t.Context(), objects, *s.Parent) {
		named[sinks.ManifestPath(s.Snapshot)] = true
		for _, f := range s.Files {
			named[f.Path] = true
		}
		if s.Parent == nil {
			break
		}
	}
	if err != nil {
		k.t.Fatal(err)
	}
	for r, err := range objects.List(k.t.Context(), "") {
		if err != nil {
			k.t.Fatal(err)
		}
		if !named[r.Key] {
			k.t.Errorf("after %d kills and gc, %s is named by no snapshot", k.kills, r.Key)
		}
		delete(named, r.Key)
	}
	for key := range named {
		k.t.Errorf("gc has deleted %s", key)
	}
	for u, err := range objects.(store.Cleaner).Unfinished(k.t.Context()) {
		k.t.Errorf("an unfinished upload is left: %+v, %v", u, err)
	}
}

// nights kills first nights and second nights, each on an output of its own, until there were so many
// kills, at most so many a night.
func (k *killing) nights(kills, most int) {
	k.t.Helper()
	for round := 0; k.kills < kills && !k.t.Failed(); round++ {
		whole, killed := fmt.Sprintf("s3://facet/whole-%d/", round), fmt.Sprintf("s3://facet/killed-%d/", round)
		for range 2 {
			k.undisturbed(whole)
			k.disturbed(killed, most)
			k.same(whole, killed)
			k.change()
		}
		k.clean(killed)
	}
	k.t.Logf("%d kills: %v", k.kills, k.by)
}

// Runs that are killed at any moment end in the bytes of one that nobody disturbed. The soak test kills
// many more.
func TestKilled(t *testing.T) {
	newKilling(t, 150, 7).nights(4, 3)
}

// stop stops a process, but not amid a write to the folder, whose lock it would keep from all others.
func stop(t *testing.T, p *os.Process, folder string) {
	t.Helper()
	f, err := os.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for ; ; time.Sleep(5 * time.Millisecond) {
		err := p.Signal(syscall.SIGSTOP)
		var status syscall.WaitStatus
		if err == nil {
			_, err = syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil) // until all its threads have stopped
		}
		if err != nil || !status.Stopped() {
			t.Fatalf("the process does not stop: %v, status %#x", err, status)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}

// A run that sleeps beyond its lease finds on waking that another has taken its place, and publishes
// nothing.
func TestStaleRunCannotPublish(t *testing.T) {
	out, gallery := t.TempDir(), testenv.Fashion(t, 300)
	model := testenv.Shared(t, "models/fashion/model.onnx")
	args := []string{"index", "--json", "--gallery", gallery, "--output", out, "--shard-size", "20", "--lease", "1s", "--tasks", "gender", "--model", model}
	first := command(t, args...)
	var errs strings.Builder
	first.Stderr = &errs
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer first.Process.Kill() // it has ended unless the test fails; stopped, it heeds nothing else
	objects := openStore(t, out)
	for n, tries := 0, 0; n == 0; time.Sleep(10 * time.Millisecond) {
		for range objects.List(t.Context(), sinks.RecordsDir+"/") {
			n++
		}
		if tries++; tries > 6000 {
			_ = first.Process.Kill()
			_ = first.Wait()
			t.Fatalf("the first run records nothing:\n%s", errs.String())
		}
	}
	stop(t, first.Process, out)
	// It is not dead, so the second one is refused until the lease has expired.
	begun := time.Now()
	for code := exitError; code != exitOK; {
		if time.Since(begun) > 3*time.Minute {
			t.Fatal("the lease of a second does not expire")
		}
		var text string
		if code, _, text = facet(t, args...); code != exitOK && !strings.Contains(text, sinks.ErrLeased.Error()) {
			t.Fatalf("the second run: exit code %d:\n%s", code, text)
		}
	}
	published, err := sinks.OpenCurrent(t.Context(), objects)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	err = first.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitError || !strings.Contains(errs.String(), "lease") {
		t.Errorf("the first run, woken: %v\n%s", err, errs.String())
	}
	now, err := sinks.OpenCurrent(t.Context(), objects)
	if err != nil || now.Pointer() != published.Pointer() {
		t.Errorf("CURRENT is %+v, the second run made it %+v: %v", now.Pointer(), published.Pointer(), err)
	}
	if code, text, _ := facet(t, "verify", "--output", out); code != exitOK {
		t.Errorf("verify: exit code %d\n%s", code, text)
	}
}
