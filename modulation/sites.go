package modulation

import (
	"encoding/json"
	"fmt"

	"github.com/facet-search/facet/modulation/onnx"
)

// SitesKey is the metadata key under which a model says where its tasks are modulated, which folding
// hides. Its value is JSON: {task: [{"tensor", "channels", "dead"}…]}.
const SitesKey = "facet.sites"

// Site is a place at which a task's channels are scaled.
type Site struct {
	Tensor   string `json:"tensor"`   // what is scaled, by its name before weaving and folding
	Channels int    `json:"channels"` // how many scales there are
	Dead     int    `json:"dead"`     // how many of them are not above 0
}

// Sites are every task's sites, in the order of the graph.
type Sites map[string][]Site

// SetSites states a model's sites, if it has any.
func SetSites(m *onnx.ModelProto, s Sites) error {
	if len(s) == 0 {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("set metadata %s: %w", SitesKey, err)
	}
	m.SetMetadata(SitesKey, string(b))
	return nil
}

// readSites reads what SetSites wrote; nil where there is nothing.
func readSites(m *onnx.ModelProto) (Sites, error) {
	doc, ok := m.Metadata(SitesKey)
	if !ok {
		return nil, nil
	}
	var s Sites
	if err := decode(doc, &s); err != nil {
		return nil, fmt.Errorf("metadata %s: %w", SitesKey, err)
	}
	return s, nil
}

// tensors are the names of all sites.
func (s Sites) tensors() []string {
	var list []string
	for _, sites := range s {
		for _, site := range sites {
			list = append(list, site.Tensor)
		}
	}
	return list
}

// NewSite describes scales at a tensor.
func NewSite(tensor string, scales []float32) Site {
	s := Site{Tensor: tensor, Channels: len(scales)}
	for _, v := range scales {
		if !(v > 0) {
			s.Dead++
		}
	}
	return s
}
