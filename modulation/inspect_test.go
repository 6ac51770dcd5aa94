package modulation

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestInspection(t *testing.T) {
	m, err := Open(write(t, described(t)), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	in := m.Inspect()
	text := in.String()
	for _, want := range []string{
		"sha256 " + m.Digests.File.String(),
		"input        images [n 3 4 6] float32\n",
		"preprocess   stretch to 4×6, bilinear, rgb, orientation ignore, digest " + m.Digests.Preprocess.String(),
		"all tasks    10 parameters, 6 MACs; of these shared 6 parameters, 6 MACs\n",
		"task         shape: output embedding_shape [N 2], cosine, unit length, digest " + m.Digests.Tasks[0].String(),
		"             8 parameters, 6 MACs; its own 2 parameters, 0 MACs\n",
		"operators    Div×1 Flatten×1 GlobalAveragePool×1 MatMul×1 Mul×2 ReduceL2×1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"digest":"` + m.Digests.File.String() + `"`, `"input":{"name":"images","shape":"[n 3 4 6]"}`,
		`"name":"colour","output":"embedding_colour","dim":2,"metric":"l2"`, `"cost":{"parameters":10,"macs":6}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

// What the shapes do not tell is said to be unknown, with the node to blame.
func TestUnknownCostIsSaid(t *testing.T) {
	p := described(t)
	p.Graph.Node[0].OpType = new("Einsum")
	m, err := Open(write(t, p), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	in := m.Inspect()
	if in.Cost.MACs != nil || !strings.Contains(in.String(), `unknown      node "GlobalAveragePool/p" (Einsum)`) {
		t.Errorf("inspection says\n%s", in)
	}
	if b, err := json.Marshal(in.Cost); err != nil || !strings.Contains(string(b), `"macs":null,"macs_unknown":"node`) {
		t.Errorf("as JSON %s, %v", b, err)
	}
}
