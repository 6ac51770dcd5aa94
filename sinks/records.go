package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

// RecordsDir is where finished work is recorded, below the output's root.
const RecordsDir = "work"

// Records are what a killed run leaves to the next one: for each finished piece of work, a small object
// that lists what was stored. Its name says what the work was, so whoever would do the same work finds it
// done. It is safe for several goroutines.
type Records struct {
	objects store.Store
	parent  string
	have    map[string]bool // as there were at the start
}

// Record is the envelope of a record.
type Record struct {
	Parent string          `json:"parent"` // the snapshot that the work goes on from; "" before the first
	Saved  time.Time       `json:"saved"`
	Files  []File          `json:"files"` // what the record keeps from being collected
	Work   json.RawMessage `json:"work"`
}

// OpenRecords finds out what is recorded.
func OpenRecords(ctx context.Context, objects store.Store, parent string) (*Records, error) {
	r := &Records{objects: objects, parent: parent, have: map[string]bool{}}
	for ref, err := range objects.List(ctx, RecordsDir+"/") {
		if err != nil {
			return nil, fmt.Errorf("list the records of finished work: %w", err)
		}
		r.have[ref.Key] = true
	}
	return r, nil
}

func recordPath(name string) string { return path.Join(RecordsDir, name+".json") }

// Load fills work from a record that is not older than oldest. A record that cannot be read as one is
// no reason to stop: the work is done again.
func (r *Records) Load(ctx context.Context, name string, oldest time.Time, work any) (bool, error) {
	if !r.have[recordPath(name)] {
		return false, nil
	}
	rec, err := ReadRecord(ctx, r.objects, recordPath(name))
	if errors.Is(err, ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if rec.Parent != r.parent || rec.Saved.Before(oldest) {
		return false, nil
	}
	return json.Unmarshal(rec.Work, work) == nil, nil
}

// ReadRecord reads a record; it is an ErrDamaged that it is none.
func ReadRecord(ctx context.Context, objects store.Store, key string) (*Record, error) {
	data, _, err := readSmall(ctx, objects, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: record %s is gone", ErrDamaged, key)
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", key, err)
	}
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("%w: record %s: %w", ErrDamaged, key, err)
	}
	return &rec, nil
}

// recorded is work that names the files it has stored.
type recorded interface{ stored() []File }

func (s *Shard) stored() (files []File) {
	for _, f := range s.Files {
		files = append(files, f.File)
	}
	return files
}

func (b *BuiltIndex) stored() []File { return b.Files }

// Save records work whose files are all stored.
func (r *Records) Save(ctx context.Context, name string, work recorded) error {
	if r == nil {
		return nil
	}
	doc, err := json.Marshal(work)
	if err == nil {
		doc, err = json.Marshal(Record{Parent: r.parent, Saved: time.Now().UTC().Truncate(time.Second), Files: work.stored(), Work: doc})
	}
	if err != nil {
		return fmt.Errorf("encode record %s: %w", name, err)
	}
	if _, err := put(ctx, r.objects, recordPath(name), doc, store.Condition{}); err != nil {
		return fmt.Errorf("record finished work: %w", err)
	}
	return nil
}

// Clear removes all records: what they name is published, or will be done anew.
func (r *Records) Clear(ctx context.Context) error {
	for ref, err := range r.objects.List(ctx, RecordsDir+"/") {
		if err == nil && path.Ext(ref.Key) != ".json" { // somebody else's, such as a marker of the folder
			continue
		}
		if err == nil {
			err = r.objects.Delete(ctx, ref.Key)
		}
		if err != nil {
			return fmt.Errorf("remove the records of finished work: %w", err)
		}
	}
	return nil
}

// RecordedIndexes takes indexes that a killed run has built already from its records. It is a
// pipeline.Stage around the one that builds.
type RecordedIndexes struct {
	Builder IndexBuilder
	Records *Records
}

// Process implements pipeline.Stage.
func (s RecordedIndexes) Process(ctx context.Context, job IndexJob) (*BuiltIndex, error) {
	name, err := s.name(job)
	if err != nil {
		return nil, err
	}
	var done BuiltIndex
	if ok, err := s.Records.Load(ctx, name, time.Time{}, &done); err != nil || ok {
		return &done, err
	}
	made, err := s.Builder.Process(ctx, job)
	if err != nil || made.Index.Origin.How == kept { // which costs no more than its record would
		return made, err
	}
	return made, s.Records.Save(ctx, name, made)
}

func (s RecordedIndexes) name(job IndexJob) (string, error) {
	inputs, err := s.Builder.Inputs(job)
	if err != nil {
		return "", err
	}
	return strings.Join([]string{"index", job.Task.Name, inputs[:32]}, "-"), nil
}
