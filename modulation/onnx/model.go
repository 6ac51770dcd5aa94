// Package onnx is the ONNX file format: the messages of its specification as far as Facet needs them,
// reading them from bytes that may be hostile, writing them back, and the values of tensors.
//
// Fields that onnx.proto leaves out survive Read and Write unseen, so that a file keeps what other
// tools put into it.
package onnx

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
)

// Generating wants protoc 3.21 and protoc-gen-go v1.36.12, the version of google.golang.org/protobuf in go.mod.
//
// protoc-gen-go of the version that go.mod requires of google.golang.org/protobuf, v1.36.12.
//go:generate protoc --go_out=. --go_opt=paths=source_relative onnx.proto

// The versions of the default operator set that Read accepts. 13 made axes of Squeeze, Unsqueeze and
// ReduceSum inputs; 21 is the newest whose operators Facet knows.
const (
	MinOpset = 13
	MaxOpset = 21
)

// DefaultDomain is the name of the standard operator set, which files usually write as "".
const DefaultDomain = "ai.onnx"

// Read decodes an ONNX file and checks that it stands on its own: a supported operator set, no tensors
// in other files, and as many bytes in each tensor as its shape asks for. A hostile file makes
// it neither panic nor take more memory than 16 times the file's size and 400 MB (see maxMessages).
func Read(file []byte) (*ModelProto, error) {
	m := new(ModelProto)
	if err := scan(file, m); err != nil {
		return nil, fmt.Errorf("read ONNX: not an ONNX file, or a damaged one: %w", err)
	}
	if err := proto.Unmarshal(file, m); err != nil {
		return nil, fmt.Errorf("read ONNX: not an ONNX file, or a damaged one: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("read ONNX: %w", err)
	}
	return m, nil
}

// Write encodes a model. Equal models give equal bytes.
func Write(m *ModelProto) ([]byte, error) {
	if size := proto.Size(m); size > math.MaxInt32 {
		return nil, fmt.Errorf("write ONNX: the model takes %d bytes, and protobuf ends at 2 GiB", size)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write ONNX: %w", err)
	}
	return b, nil
}

func (x *ModelProto) check() error {
	if x.GetGraph() == nil {
		return errors.New("the file holds no graph: not an ONNX model, or an empty one")
	}
	if err := x.checkOpsets(); err != nil {
		return err
	}
	if err := checkTensors(x.GetGraph()); err != nil {
		return err
	}
	for _, f := range x.GetFunctions() {
		if err := checkTensors(&GraphProto{Node: f.GetNode()}); err != nil {
			return fmt.Errorf("function %q: %w", f.GetName(), err)
		}
	}
	return nil
}

func (x *ModelProto) checkOpsets() error {
	seen := make(map[string]bool, len(x.GetOpsetImport()))
	for _, o := range x.GetOpsetImport() {
		d := CanonicalDomain(o.GetDomain())
		if seen[d] {
			return fmt.Errorf("operator set %q is imported twice", d)
		}
		seen[d] = true
	}
	switch v, ok := x.Opset(DefaultDomain); {
	case !ok:
		return fmt.Errorf("the file does not say its version of the operator set %s", DefaultDomain)
	case v < MinOpset || v > MaxOpset:
		return fmt.Errorf("operator set %d is not supported, want %d to %d: export again with such an opset_version, "+
			"or convert with onnx.version_converter", v, MinOpset, MaxOpset)
	}
	return nil
}

// Opset is the version that the file imports of a domain's operator set.
func (x *ModelProto) Opset(domain string) (version int64, ok bool) {
	for _, o := range x.GetOpsetImport() {
		if CanonicalDomain(o.GetDomain()) == CanonicalDomain(domain) {
			return o.GetVersion(), true
		}
	}
	return 0, false
}

// CanonicalDomain gives the two spellings of the standard domain one.
func CanonicalDomain(domain string) string {
	if domain == "" {
		return DefaultDomain
	}
	return domain
}

// Metadata is the value of a key of metadata_props.
func (x *ModelProto) Metadata(key string) (value string, ok bool) {
	for _, e := range x.GetMetadataProps() {
		if e.GetKey() == key {
			return e.GetValue(), true
		}
	}
	return "", false
}

// SetMetadata gives a key of metadata_props its value and leaves the others as they are.
func (x *ModelProto) SetMetadata(key, value string) {
	for _, e := range x.GetMetadataProps() {
		if e.GetKey() == key {
			e.Value = &value
			return
		}
	}
	x.MetadataProps = append(x.MetadataProps, &StringStringEntryProto{Key: &key, Value: &value})
}
