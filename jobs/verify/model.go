package verify

import (
	"context"

	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/sinks"
)

// checkModel wants the copy of the model to be the one that the manifest's digests are of: they decide which
// vectors a next night uses again.
func (v *verifier) checkModel(ctx context.Context) error {
	state := v.snapshot.Model
	files := v.snapshot.Select(sinks.Model, "")
	if len(files) != 1 || files[0].Path != state.Path || files[0].SHA256 != state.SHA256 {
		v.differ("manifest: the models are %v, want one, %s with SHA-256 %s", files, state.Path, state.SHA256)
		return nil
	}
	m, _, err := network.Model(ctx, v.snapshot)
	if err != nil {
		return v.tolerate(files[0], err)
	}
	if got := m.Digests.Preprocess.String(); got != state.PreprocessDigest {
		v.differ("manifest: the preprocessing has the digest %s, it says %s", got, state.PreprocessDigest)
	}
	for i, t := range v.snapshot.Tasks {
		if got := m.Digests.Tasks[i].String(); got != t.Digest {
			v.differ("manifest: task %q of the model has the digest %s, it says %s", t.Name, got, t.Digest)
		}
	}
	return nil
}
