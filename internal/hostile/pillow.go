package hostile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/facet-search/facet/pipeline"
)

// Flips is how many random changes the judged corpus holds of each fixture that is changed.
const Flips = 6

// Preprocess is how Pillow scaled the pixels it was asked about.
func Preprocess() pipeline.Preprocess {
	return pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{18, 24}, Filter: "bilinear", Std: [3]float64{1, 1, 1}, Scale: 1,
		Channels: "rgb", Orientation: "apply", Background: [3]uint8{255, 255, 255},
	}
}

// Judgement is what Pillow makes of a file: the digest of its pixels, or an error.
type Judgement struct {
	Name   string `json:"name"`
	Pixels string `json:"pixels"`
	Error  string `json:"error"`
}

// Pillow knows the judgements, by file name.
type Pillow map[string]Judgement

// ReadPillow reads the file that testdata/hostile.py of package imaging wrote.
func ReadPillow(file string) (Pillow, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("judgements: %w", err)
	}
	var list []Judgement
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("judgements: %w", err)
	}
	p := Pillow{}
	for _, j := range list {
		p[j.Name] = j
	}
	return p, nil
}

// Check compares what became of a case with what must: reason is that of its rejection, or "" and
// then pixels are the RGB bytes. It returns what is wrong.
func (p Pillow) Check(c Case, reason pipeline.Reason, pixels []byte) error {
	judged, ok := p[c.Name]
	switch {
	case !ok:
		return fmt.Errorf("%s: Pillow was not asked; run testdata/hostile.py", c)
	case c.Want != Either && reason != c.Want:
		return fmt.Errorf("%s: reason %q, want %q", c, reason, c.Want)
	case reason != "":
		return known(c, reason)
	}
	if judged.Error != "" && c.Like != "" {
		judged = p[c.Like]
	}
	if judged.Error != "" {
		return fmt.Errorf("%s: decoded, which Pillow refuses: %s", c, judged.Error)
	}
	if sum := sha256.Sum256(pixels); hex.EncodeToString(sum[:16]) != judged.Pixels {
		return fmt.Errorf("%s: other pixels than Pillow's", c)
	}
	return nil
}

// known wants a reason that an image's content can have.
func known(c Case, r pipeline.Reason) error {
	switch r {
	case pipeline.Unreadable, pipeline.Truncated, pipeline.TooLarge, pipeline.Unsupported, pipeline.Empty:
		return nil
	}
	return fmt.Errorf("%s: reason %q", c, r)
}
