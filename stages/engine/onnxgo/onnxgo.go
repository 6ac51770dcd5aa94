// Package onnxgo runs networks on onnx-go, which is Go throughout: for machines that ONNX Runtime does
// not exist for, at 18 to 50 times its cost. It is part of builds with the tag onnxgo.
//
// onnx-go v0.5.0 computes many graphs wrongly without saying so: batch normalisations of one tensor with
// different weights are merged, operators write into their constants (Gemm into its bias, Sub into its
// first operand) and into memory that a Flatten of the same tensor shares, pads are swapped, a
// broadcast's axis is guessed by its extent. So Open takes only graphs all of whose nodes meet the
// conditions in rules.go, each of which has been compared with ONNX Runtime, and every image gets a graph
// decoded afresh, because a second run finds the constants as the first one left them.
package onnxgo

import (
	"errors"
	"fmt"

	"github.com/facet-search/facet/stages/engine"
)

// ErrNotBuilt means that the program was built without the tag onnxgo.
var ErrNotBuilt = errors.New("this build has no onnx-go: build with -tags onnxgo, or use the engine onnxruntime")

// ErrRefused means that onnx-go would compute the graph wrongly or not at all.
var ErrRefused = errors.New("onnx-go cannot run this model; use the engine onnxruntime")

// Open loads a serialised ONNX model for the input and outputs that spec names. A graph beyond the
// allow-list is refused with ErrRefused, naming the node and the reason.
func Open(model []byte, spec engine.Spec) (engine.Engine, error) {
	g, err := parse(model)
	if err != nil {
		return nil, fmt.Errorf("open model for onnx-go: %w", err)
	}
	if err := check(g, spec); err != nil {
		return nil, fmt.Errorf("open model: %w: %w", ErrRefused, err)
	}
	return start(model, spec)
}
