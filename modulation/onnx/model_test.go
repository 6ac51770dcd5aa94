package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// tiny is a model of one node: y = x + c.
func tiny(opset int64) *ModelProto {
	return NewModel(opset, &GraphProto{
		Name:        new("tiny"),
		Node:        []*NodeProto{NewNode("Add", []string{"x", "c"}, []string{"y"})},
		Initializer: []*TensorProto{NewFloats("c", []int64{2}, []float32{1, -2})},
		Input:       []*ValueInfoProto{NewImages("x", 2)},
		Output:      []*ValueInfoProto{NewImages("y", 2)},
	})
}

func encoded(t testing.TB, m *ModelProto) []byte {
	t.Helper()
	b, err := Write(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Field 20 of a model is training_info and 14 of a graph quantization_annotation, which onnx.proto leaves out; 4000
// is nobody's.
func TestUnknownFieldsAndMetadataSurvive(t *testing.T) {
	m := tiny(17)
	m.SetMetadata("someone's", "note")
	m.SetMetadata("facet.tasks", "[]")
	unknown := protowire.AppendString(protowire.AppendTag(nil, 4000, protowire.BytesType), "later")
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(unknown, 20, protowire.BytesType), []byte{8, 1}))
	m.Graph.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 14, protowire.BytesType), []byte{10, 1, 'x'}))
	m.Graph.Node[0].ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 4001, protowire.VarintType), 7))
	b := encoded(t, m)
	got, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, m) || !bytes.Equal(encoded(t, got), b) {
		t.Fatalf("read %v\nwant %v", got, m)
	}
	if v, ok := got.Metadata("someone's"); !ok || v != "note" {
		t.Fatalf("metadata %q, %v", v, ok)
	}
	got.SetMetadata("someone's", "other")
	if v, _ := got.Metadata("someone's"); v != "other" || len(got.GetMetadataProps()) != 2 {
		t.Fatalf("set metadata gives %v", got.GetMetadataProps())
	}
}

func TestReadRefuses(t *testing.T) {
	change := func(f func(*ModelProto)) []byte {
		m := tiny(17)
		f(m)
		return encoded(t, m)
	}
	weight := func(f func(*TensorProto)) []byte {
		return change(func(m *ModelProto) { f(m.Graph.Initializer[0]) })
	}
	deep := []byte{}
	for range 200 { // graph within attribute within node within graph …
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), deep)
	}
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"text", "not an ONNX file", []byte("<html>404</html>")},
		{"nothing", "no graph", nil},
		{"cut short", "not an ONNX file", encoded(t, tiny(17))[:40]},
		{"opset 12", "operator set 12 is not supported, want 13 to 21", encoded(t, tiny(12))},
		{"opset 22", "operator set 22 is not supported, want 13 to 21", encoded(t, tiny(22))},
		{"no opset", "does not say its version", change(func(m *ModelProto) { m.OpsetImport = nil })},
		{"opset twice", `"ai.onnx" is imported twice`, change(func(m *ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &OperatorSetIdProto{Domain: new("ai.onnx"), Version: new(int64(18))})
		})},
		{"external location", "another file", weight(func(w *TensorProto) { w.RawData, w.DataLocation = nil, TensorProto_EXTERNAL.Enum() })},
		{"external data", "another file", weight(func(w *TensorProto) { w.ExternalData = []*StringStringEntryProto{{}} })},
		{"external within a node", `attribute "value"`, change(func(m *ModelProto) {
			w := &TensorProto{DataLocation: TensorProto_EXTERNAL.Enum()}
			m.Graph.Node[0].Attribute = []*AttributeProto{NewTensor("value", w)}
		})},
		{"negative extent", "negative extent", weight(func(w *TensorProto) { w.Dims = []int64{-2} })},
		{"overflowing shape", "too large", weight(func(w *TensorProto) { w.Dims = []int64{1 << 32, 1 << 32} })},
		{"too few bytes", `tensor "c": 8 bytes of data, but shape [3] of type 1 takes 12`, weight(func(w *TensorProto) { w.Dims = []int64{3} })},
		{"unknown type", "data type 99", weight(func(w *TensorProto) { w.DataType = new(int32(99)) })},
		{"data twice", "twice", weight(func(w *TensorProto) { w.FloatData = []float32{1, 2} })},
		{"sparse", "sparse", change(func(m *ModelProto) { m.Graph.SparseInitializer = []*SparseTensorProto{{}} })},
		{"nested deep", "nested deeper", protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), deep)},
		{"many messages", "more than", protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType),
			bytes.Repeat([]byte{1<<3 | 2, 0}, maxMessages))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Read(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestReadTakesEverySupportedOpset(t *testing.T) {
	for v := int64(MinOpset); v <= MaxOpset; v++ {
		if _, err := Read(encoded(t, tiny(v))); err != nil {
			t.Error(err)
		}
	}
}

// A file that PyTorch wrote comes back byte for byte.
func TestRealFileRoundTrip(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(shared(t), "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, m), file) {
		t.Fatal("the file changed on its way through Read and Write")
	}
}

// shared is the folder of real data beside the module, if this machine has it.
func shared(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			path := filepath.Join(dir, "../shared")
			if _, err := os.Stat(path); err != nil {
				t.Skip("no ../shared beside the module: the reference model is not here")
			}
			return path
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

func FuzzRead(f *testing.F) {
	f.Add(encoded(f, tiny(13)))
	f.Add(encoded(f, tiny(17))[:60])
	m := tiny(21)
	m.Graph.Node = append(m.Graph.Node, NewNode("Constant", nil, []string{"k"}, NewTensor("value", NewInts("", nil, []int64{3}))))
	m.Graph.Initializer[0].RawData, m.Graph.Initializer[0].FloatData = nil, []float32{1, 2}
	f.Add(encoded(f, m))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Read(file)
		if err != nil {
			return
		}
		b := encoded(t, m)
		again, err := Read(b)
		if err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if !bytes.Equal(encoded(t, again), b) {
			t.Fatal("writing twice gives different bytes")
		}
	})
}
