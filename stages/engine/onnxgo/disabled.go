//go:build !onnxgo

package onnxgo

import "github.com/facet-search/facet/stages/engine"

func start([]byte, engine.Spec) (engine.Engine, error) { return nil, ErrNotBuilt }
