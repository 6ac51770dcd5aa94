package modulation_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation"
)

func open(t testing.TB, file []byte) *modulation.Model {
	t.Helper()
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A cut model yields, bit for bit, what the whole one does, under the same digests.
func TestCutReference(t *testing.T) {
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	whole := open(t, file)
	images := enginetest.Images(3 * 3 * 64 * 64)
	want := enginetest.Run(t, file, images)
	var each int64
	for _, tasks := range [][]string{{"articleType"}, {"usage"}, {"gender", "baseColour"}, {"usage", "gender", "baseColour", "articleType"}} {
		cut, err := modulation.Cut(file, tasks)
		if err != nil {
			t.Fatal(err)
		}
		m := open(t, cut)
		got := enginetest.Run(t, cut, images)
		for i, task := range m.Tasks {
			at := slices.Index(whole.Tasks, task)
			if m.Digests.Tasks[i] != whole.Digests.Tasks[at] {
				t.Errorf("cut to %v: the digest of %s changed", tasks, task.Name)
			}
			if !slices.Equal(got[i], want[at]) {
				t.Errorf("cut to %v: the embeddings of %s changed", tasks, task.Name)
			}
		}
		if len(m.Tasks) != len(tasks) || m.Inspect().Unused != 0 {
			t.Errorf("cut to %v: %d tasks, %d unused parameters", tasks, len(m.Tasks), m.Inspect().Unused)
		}
		if len(tasks) == 1 {
			each = m.Inspect().Cost.Parameters
		}
	}
	if all := whole.Inspect().Cost.Parameters; each >= all {
		t.Errorf("one task takes %d parameters, all of them %d", each, all)
	}
}

func TestCutRefuses(t *testing.T) {
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for want, tasks := range map[string][]string{
		`no task "color"; it has articleType, baseColour, gender, usage`: {"color"}, "no tasks are named": nil,
	} {
		if _, err := modulation.Cut(file, tasks); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("cut to %v: error %v, want one with %q", tasks, err, want)
		}
	}
	if _, err := modulation.Cut(file[:1000], []string{"usage"}); err == nil {
		t.Error("a damaged file was cut")
	}
}
