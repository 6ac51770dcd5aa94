package train

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// fromONNX starts from a file. A file that has an output for each of the tasks is trained as it is;
// any other is a backbone, to which the method is applied.
func (n Network) fromONNX(tasks []string, image network.Shape, rng *rand.Rand) (*network.Network, *network.Params, error) {
	m, err := n.read()
	if err != nil {
		return nil, nil, err
	}
	src := exchange.Source{Image: [2]int{image[1], image[2]}, Tasks: tasks}
	if src.Outputs = outputsOf(m, tasks); src.Outputs != nil {
		return exchange.Import(m, src)
	}
	if n.Output != "" {
		src.Outputs = []string{n.Output}
	}
	base, weights, err := exchange.Import(m, src)
	if err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(weights.List, func(p *network.Param) bool { return p.Task != network.Shared }) {
		return nil, nil, fmt.Errorf("%s has several outputs and not one for each of %q; name one of them as network.output", n.Start, tasks)
	}
	b, err := zoo.Extend(base, n.Dim)
	if err != nil {
		return nil, nil, err
	}
	net, err := n.apply(b, tasks, image)
	if err != nil {
		return nil, nil, err
	}
	params, err := net.NewParams(rng)
	if err != nil {
		return nil, nil, err
	}
	zoo.Adopt(params, weights, base)
	return net, params, nil
}

func (n Network) read() (*onnx.ModelProto, error) {
	file, err := os.ReadFile(n.Start)
	if err != nil {
		return nil, err
	}
	return onnx.Read(file)
}

// outputsOf are the file's outputs of these tasks; nil unless it has one for each.
func outputsOf(m *onnx.ModelProto, tasks []string) (outputs []string) {
	for _, t := range tasks {
		name := exchange.OutputOf(t)
		if !slices.ContainsFunc(m.GetGraph().GetOutput(), func(v *onnx.ValueInfoProto) bool { return v.GetName() == name }) {
			return nil
		}
		outputs = append(outputs, name)
	}
	return outputs
}

// preprocess takes the preprocessing that the ONNX file asks for, unless the job says otherwise.
func (c *Config) preprocess() error {
	if !c.Network.fromFile() || c.Preprocess != DefaultPreprocess() {
		return nil
	}
	file, err := os.ReadFile(c.Network.Start)
	if err != nil {
		return fmt.Errorf("%w: network.start: %w", jobfile.ErrConfig, err)
	}
	if m, err := modulation.Open(file, modulation.Overrides{}); err == nil { // other files say nothing of it
		c.Preprocess = m.Preprocess
	}
	return nil
}
