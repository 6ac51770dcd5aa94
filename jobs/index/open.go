package index

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/gallery"
	"github.com/facet-search/facet/stages/imaging"
)

// ErrEmpty means that the listing came back empty. A snapshot of nothing is not published.
var ErrEmpty = errors.New("the gallery is empty")

// job is one night, with everything that it needs open.
type job struct {
	config   Config
	progress *progress.Progress

	model     *modulation.Model
	modelFile []byte
	tasks     []pipeline.Task
	engine    engine.Engine
	images    store.Store
	gallery   gallery.Source
	output    store.Store
	lease     *sinks.Lease
	stop      func()          // ends the renewal of the lease
	pointer   sinks.Pointer   // as it was when the night began
	previous  *sinks.Snapshot // that it names; nil before the first night
	reuse     reuse
	repair    *repair // nil in a night
	records   *sinks.Records

	dir      string // scratch, removed at the end
	listing  *stages.Listing
	agenda   *agenda
	manifest *sinks.Manifest
	collect  *sinks.Collect
	phases   map[string]float64
}

// open checks all that can be checked before any work: the model, the tasks, the index types, both
// stores. The context that it returns ends when the output's lease is lost, which is renewed from here on.
// What it opened is closed again when it fails.
func open(ctx context.Context, c Config, r *repair, p *progress.Progress) (*job, context.Context, error) {
	j := &job{config: c, repair: r, progress: p, phases: map[string]float64{}}
	err := inTurn(ctx, j.openModel, j.checkIndexes, j.openStores, j.openEngine, j.openScratch, j.openOutput)
	if err == nil {
		ctx, j.stop = pipeline.Heartbeat(ctx, j.lease.Every(), j.lease.Renew)
		err = inTurn(ctx, j.openRepair, j.openReuse, j.distrust)
	}
	if err != nil {
		err = sinks.Lost(ctx, err)
		j.close()
		return nil, nil, err
	}
	return j, ctx, nil
}

// inTurn takes steps up to the first that fails.
func inTurn(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) close() {
	if j.reuse.past != nil {
		j.reuse.past.Close()
	}
	if j.agenda != nil {
		j.agenda.backlog.Close()
	}
	if j.listing != nil {
		j.listing.Close()
	}
	if j.gallery != nil {
		j.gallery.Close()
	}
	if j.engine != nil {
		j.engine.Close()
	}
	if j.dir != "" {
		os.RemoveAll(j.dir)
	}
	if j.stop != nil {
		j.stop()
	}
	j.release()
}

func (j *job) openModel(context.Context) (err error) {
	m := j.config.Model
	if j.modelFile, err = os.ReadFile(m.Path); err != nil {
		return fmt.Errorf("%w: model: %w", jobfile.ErrConfig, err)
	}
	if sum := sha256.Sum256(j.modelFile); m.SHA256 != "" && !strings.EqualFold(m.SHA256, hex.EncodeToString(sum[:])) {
		return fmt.Errorf("%w: model.sha256: %s has %x, the job wants %s", jobfile.ErrConfig, m.Path, sum, m.SHA256)
	}
	if j.model, err = modulation.Open(j.modelFile, modulation.Overrides{Tasks: m.Tasks, Preprocess: m.Preprocess}); err != nil {
		return fmt.Errorf("%w: model %s: %w", jobfile.ErrConfig, m.Path, err)
	}
	j.tasks = j.model.Tasks
	if len(j.config.Tasks) > 0 {
		j.tasks = nil
	}
	for _, name := range j.config.Tasks {
		i, ok := taskNamed(j.model.Tasks, name)
		if _, twice := taskNamed(j.tasks, name); !ok || twice {
			return fmt.Errorf("%w: tasks: %q is not a task of %s, or named twice; it has %s", jobfile.ErrConfig, name, m.Path, names(j.model.Tasks))
		}
		j.tasks = append(j.tasks, j.model.Tasks[i])
	}
	return nil
}

func names(tasks []pipeline.Task) (list []string) {
	for _, t := range tasks {
		list = append(list, t.Name)
	}
	return list
}

// checkIndexes asks FAISS about every factory string.
func (j *job) checkIndexes(ctx context.Context) error {
	for name, factory := range j.config.Index {
		tasks := j.tasks
		if i, ok := taskNamed(j.tasks, name); ok {
			tasks = j.tasks[i : i+1]
		} else if name != "default" {
			return fmt.Errorf("%w: index: there is no task %q; there are %s", jobfile.ErrConfig, name, names(j.tasks))
		}
		if factory == "auto" {
			continue
		}
		resolved, err := faiss.Resolve(factory)
		for _, t := range tasks {
			if err == nil {
				err = faiss.Check(ctx, resolved, t)
			}
		}
		if err != nil {
			return fmt.Errorf("%w: index %q of %s: %w", jobfile.ErrConfig, factory, name, err)
		}
	}
	return nil
}

func (j *job) openEngine(context.Context) (err error) {
	j.engine, err = network.Open(j.config.Engine, j.modelFile, j.model, j.tasks)
	return err
}

// openScratch makes the local folder.
func (j *job) openScratch(context.Context) (err error) {
	if j.dir, err = os.MkdirTemp(j.config.Scratch, "facet-index-"); err != nil {
		return fmt.Errorf("%w: scratch folder: %w", jobfile.ErrConfig, err)
	}
	return nil
}

// newManifest is the manifest to be filled.
func (j *job) newManifest() *sinks.Manifest {
	m := &sinks.Manifest{
		Format: sinks.FormatVersion, Snapshot: newSnapshotID(), Facet: version(), Attributes: j.gallery.Attributes(),
		Gallery: j.images.String(),
		Model: sinks.ModelState{
			SHA256: j.model.Digests.File.String(), Preprocess: j.model.Preprocess,
			PreprocessDigest: j.model.Digests.Preprocess.String(), Engine: j.config.Engine,
		},
		Settings: j.config.settings(j.tasks),
	}
	if j.previous != nil {
		m.Parent = &j.previous.Snapshot
	}
	for _, t := range j.tasks {
		i, _ := taskNamed(j.model.Tasks, t.Name)
		m.Tasks = append(m.Tasks, sinks.TaskState{Task: t, Digest: j.model.Digests.Tasks[i].String()})
	}
	return m
}

func (j *job) openStores(ctx context.Context) (err error) {
	c := j.config
	if j.output, err = store.Open(ctx, c.Output); err != nil {
		return fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	return j.openGallery(ctx)
}

func (c *Config) imageLimits() imaging.Limits {
	return imaging.Limits{Bytes: int64(c.Limits.Bytes), Pixels: int64(c.Limits.Pixels), Scans: c.Limits.Scans, Time: c.patience()}
}

// patience is the time that one image may take.
func (c *Config) patience() time.Duration {
	return time.Duration(c.Limits.Seconds * float64(time.Second))
}

func (g Gallery) address() string {
	if g.Manifest != "" {
		return g.Manifest
	}
	return g.Prefix
}

// newSnapshotID sorts by time and is unique without asking anybody.
func newSnapshotID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return time.Now().UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

// version is the module's version as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// openGallery opens the images' store and the listing.
func (j *job) openGallery(ctx context.Context) (err error) {
	g := j.config.Gallery
	if j.images, err = store.Open(ctx, g.Prefix); err != nil {
		return fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	if g.Manifest == "" {
		j.gallery, err = gallery.Prefix(ctx, j.images, g.Include, g.Exclude)
	} else {
		err = j.openManifest(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	return nil
}

// openManifest opens a list of keys, which may lie in another store than the images.
func (j *job) openManifest(ctx context.Context, g Gallery) error {
	root, key, err := store.Split(g.Manifest)
	if err != nil {
		return err
	}
	objects, err := store.Open(ctx, root)
	if err != nil {
		return err
	}
	j.gallery, err = gallery.Manifest(ctx, objects, key, gallery.Spec{
		Prefix: j.images.String(), Key: g.Key, Attributes: g.Attributes, Scratch: j.config.Scratch,
	})
	return err
}

// images reads the gallery's objects for the fetch stage.
type images struct {
	store.Store
	patience time.Duration
}

// ReadObject implements stages.Objects.
func (i images) ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	data, ref, err := store.ReadObject(store.WithPatience(ctx, i.patience, stages.Silences), i.Store, key, buf, limit)
	switch {
	case errors.Is(err, store.ErrTooLarge):
		err = fmt.Errorf("%w: %w", stages.ErrTooLarge, err)
	case errors.Is(err, store.ErrSilent):
		err = fmt.Errorf("%w: %w", stages.ErrSilent, err)
	}
	return data, ref, err
}
