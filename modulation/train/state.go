package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/train/network"
)

// stateMagic begins an encoded state and says its version.
const stateMagic = "facet training state 1\n"

// ErrState means that bytes are no state, or not one of this run.
var ErrState = errors.New("training state")

// header is the part of a state that is not large. Floats keep all their bits in JSON.
type header struct {
	Run        Run         `json:"run"`
	Step       int         `json:"step"`
	RNG        []byte      `json:"rng"`
	Curve      []Point     `json:"curve"`
	Compliance *Compliance `json:"compliance,omitempty"`
	Values     int         `json:"values"` // float32 behind the header
}

// Run is what a state belongs to.
type Run struct {
	Recipe Recipe   `json:"recipe"`
	Data   string   `json:"data"` // digest of the dataset
	Tasks  []string `json:"tasks"`
	Params string   `json:"params"` // digest of the parameters' names and shapes, and of what is frozen
}

// Run describes the trainer's own run.
func (t *Trainer) Run() Run {
	h := sha256.New()
	for _, p := range t.params.List {
		fmt.Fprintf(h, "%q %v %v\n", p.Name, p.Dims, p.Frozen)
	}
	return Run{Recipe: t.recipe, Data: t.data.Digest, Tasks: t.net.Tasks, Params: hex.EncodeToString(h.Sum(nil))}
}

// tensors are all large parts of the state, in a fixed order.
func (t *Trainer) tensors() (list [][]float32) {
	for _, p := range t.params.List {
		list = append(list, p.Data)
	}
	if t.average != nil {
		for _, p := range t.average.List {
			list = append(list, p.Data)
		}
	}
	for _, m := range t.memory {
		list = append(list, m...)
	}
	return list
}

// Encode is everything that the rest of the run depends on. The same state yields the same bytes; they
// end with their SHA-256.
func (t *Trainer) Encode() ([]byte, error) {
	rng, err := t.source.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode training state: %w", err)
	}
	h := header{Run: t.Run(), Step: t.step, RNG: rng, Curve: t.curve, Compliance: t.ucr}
	tensors := t.tensors()
	for _, x := range tensors {
		h.Values += len(x)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode training state: %w", err)
	}
	b := make([]byte, 0, len(stateMagic)+8+len(head)+4*h.Values+sha256.Size)
	b = append(b, stateMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(head)))
	b = append(b, head...)
	for _, x := range tensors {
		b = appendFloats(b, x)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

func appendFloats(b []byte, x []float32) []byte {
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Restore puts the trainer into an encoded state of the same run. After an error, which is an ErrState,
// the trainer is as before.
func (t *Trainer) Restore(state []byte) error {
	h, values, err := split(state)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := t.fits(h, values); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := t.source.UnmarshalBinary(h.RNG); err != nil {
		return fmt.Errorf("%w: random numbers: %w", ErrState, err)
	}
	for _, x := range t.tensors() {
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(values[4*i:]))
		}
		values = values[4*len(x):]
	}
	t.step, t.curve = h.Step, h.Curve
	if t.ucr != nil {
		t.ucr.Batches, t.ucr.Agree, t.ucr.Signs = h.Compliance.Batches, h.Compliance.Agree, h.Compliance.Signs
	}
	return nil
}

// ReadRun says which run a state belongs to and how many steps it has taken.
func ReadRun(state []byte) (Run, int, error) {
	h, _, err := split(state)
	if err != nil {
		return Run{}, 0, fmt.Errorf("%w: %w", ErrState, err)
	}
	return h.Run, h.Step, nil
}

// split checks the frame of a state.
func split(state []byte) (h header, values []byte, err error) {
	body, ok := bytes.CutPrefix(state, []byte(stateMagic))
	if !ok || len(body) < 8+sha256.Size {
		return h, nil, errors.New("these bytes are none, or of another version")
	}
	end := len(state) - sha256.Size
	if sum := sha256.Sum256(state[:end]); !bytes.Equal(sum[:], state[end:]) {
		return h, nil, errors.New("damaged: its digest is wrong")
	}
	body = body[:len(body)-sha256.Size]
	size := binary.LittleEndian.Uint64(body)
	if size > uint64(len(body)-8) {
		return h, nil, errors.New("damaged: the header is longer than the file")
	}
	d := json.NewDecoder(bytes.NewReader(body[8 : 8+size]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, nil, fmt.Errorf("header: %w", err)
	}
	values = body[8+size:]
	if h.Values < 0 || len(values)%4 != 0 || len(values)/4 != h.Values {
		return h, nil, fmt.Errorf("damaged: %d bytes for %d values", len(values), h.Values)
	}
	return h, values, nil
}

// fits reports why a state cannot be the trainer's.
func (t *Trainer) fits(h header, values []byte) error {
	if err := h.Run.same(t.Run()); err != nil {
		return err
	}
	want := 0
	for _, x := range t.tensors() {
		want += len(x)
	}
	switch {
	case want != len(values)/4:
		return fmt.Errorf("%d values, want %d", len(values)/4, want)
	case h.Step < 0 || h.Step > t.recipe.Steps || len(h.Curve) != h.Step:
		return fmt.Errorf("step %d of %d with %d points", h.Step, t.recipe.Steps, len(h.Curve))
	case t.ucr != nil && !t.ucr.sameShape(h.Compliance):
		return errors.New("its update compliance is of other layers")
	}
	for _, p := range h.Curve {
		if len(p.Loss) != len(t.net.Tasks) {
			return fmt.Errorf("step %d has losses of %d tasks", p.Step, len(p.Loss))
		}
	}
	return nil
}

func (c *Compliance) sameShape(o *Compliance) bool {
	if o == nil || o.Batches < 0 || !slices.Equal(o.Layers, c.Layers) || len(o.Agree) != len(c.Agree) || len(o.Signs) != len(c.Signs) {
		return false
	}
	for l := range c.Layers {
		if len(o.Agree[l]) != len(c.Agree[l]) || len(o.Signs[l]) != len(c.Signs[l]) {
			return false
		}
	}
	return true
}

// same reports how two runs differ, or nil.
func (r Run) same(o Run) error {
	switch {
	case r.Recipe != o.Recipe:
		return fmt.Errorf("it was made by another recipe: %+v, want %+v", r.Recipe, o.Recipe)
	case r.Data != o.Data:
		return fmt.Errorf("it was made from other images or labels (digest %.12s, want %.12s)", r.Data, o.Data)
	case !slices.Equal(r.Tasks, o.Tasks):
		return fmt.Errorf("it is of tasks %v, want %v", r.Tasks, o.Tasks)
	case r.Params != o.Params:
		return errors.New("it is of another network, or of other frozen layers")
	}
	return nil
}

// Digest identifies parameters by name, shape and value.
func Digest(p *network.Params) string {
	h := sha256.New()
	for _, q := range p.List {
		fmt.Fprintf(h, "%q %v\n", q.Name, q.Dims)
		h.Write(appendFloats(make([]byte, 0, 4*len(q.Data)), q.Data))
	}
	return hex.EncodeToString(h.Sum(nil))
}
