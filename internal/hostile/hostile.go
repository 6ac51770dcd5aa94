// Package hostile makes images that are broken, hostile or merely odd, out of good ones: what arrives
// in a catalogue's bucket sooner or later. The same images come out every time.
package hostile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// Either is what a Case wants that may be decoded, exactly as Pillow does, or rejected: where chance
// decides which byte is changed, only that is sure.
const Either pipeline.Reason = "either"

// Case is one file and what must become of it.
type Case struct {
	Name string // of the file, unique; its extension may lie
	Data []byte
	// Want is the reason for which it is rejected, "" if it is decoded, or Either.
	Want pipeline.Reason
	// Like names a case with the same pixels. What is decoded has Pillow's pixels, but Pillow refuses
	// some files that can be read, such as those with megabytes of text; then these are its pixels.
	Like string
}

// corpus is a collection in the making.
type corpus struct {
	good  map[string][]byte // the fixtures, by name
	cases []Case
}

// Corpus makes the cases from the fixtures in a folder, that of package imaging. flips is how many times
// a random bit of each of some fixtures is changed.
func Corpus(dir string, flips int) ([]Case, error) {
	c := &corpus{good: map[string][]byte{}}
	for _, ext := range []string{"jpg", "png", "webp", "gif"} {
		names, err := filepath.Glob(filepath.Join(dir, "*."+ext))
		if err != nil || len(names) == 0 {
			return nil, fmt.Errorf("no %s fixtures in %s: %w", ext, dir, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("fixture: %w", err)
			}
			c.good[filepath.Base(name)] = data
			c.add(filepath.Base(name), data, "")
		}
	}
	for _, family := range []func(){c.jpegCuts, c.pngCuts, c.webpCuts, c.gifCuts, c.jpegs, c.exifs, c.pngs, c.webps, c.gifs, c.foreign, c.tails} {
		family()
	}
	c.flip(flips)
	slices.SortFunc(c.cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return c.cases, c.unique()
}

func (c *corpus) add(name string, data []byte, want pipeline.Reason) { c.like(name, data, want, "") }

func (c *corpus) like(name string, data []byte, want pipeline.Reason, like string) {
	c.cases = append(c.cases, Case{Name: name, Data: data, Want: want, Like: like})
}

func (c *corpus) unique() error {
	seen := map[string]bool{}
	for _, k := range c.cases {
		if seen[k.Name] {
			return fmt.Errorf("two cases are called %s", k.Name)
		}
		seen[k.Name] = true
	}
	return nil
}

// called is "s420-cut-7.jpg" for s420.jpg and cut-7.
func called(name, what string) string {
	ext := filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + "-" + what + ext
}

// cut adds the first at bytes of a fixture.
func (c *corpus) cut(name string, at int, want pipeline.Reason) {
	c.like(called(name, fmt.Sprintf("cut-%d", at)), c.good[name][:at], want, name)
}

// flip changes a bit here and there.
func (c *corpus) flip(times int) {
	r := rand.New(rand.NewPCG(20, 26))
	for _, name := range []string{"s420.jpg", "progressive.jpg", "restarts.jpg", "ycck.jpg", "arithmetic.jpg", "palette8alpha.png",
		"interlaced16.png", "lossyalpha.webp", "lossless.webp", "animated.webp", "interlaced.gif", "animated.gif"} {
		for i := range times {
			data := bytes.Clone(c.good[name])
			at, bit := r.IntN(len(data)), r.IntN(8)
			data[at] ^= 1 << bit
			c.add(called(name, fmt.Sprintf("flip-%d-%d-%d", i, at, bit)), data, Either)
		}
		for i := range times / 2 {
			data := bytes.Clone(c.good[name])
			at, n := r.IntN(len(data)), 1+r.IntN(16)
			clear(data[at:min(at+n, len(data))])
			c.add(called(name, fmt.Sprintf("zeros-%d-%d-%d", i, at, n)), data, Either)
		}
	}
}

// tails are files with something behind the picture.
func (c *corpus) tails() {
	zip := "PK\x05\x06" + strings.Repeat("\x00", 18)
	for _, name := range []string{"s420.jpg", "progressive.jpg", "rgb8.png", "interlaced.png", "lossy.webp", "animated.webp", "plain.gif", "animated.gif"} {
		for what, tail := range map[string]string{
			"zip": zip, "page": "<script>alert(1)</script>", "zeros": strings.Repeat("\x00", 4096), "twice": string(c.good[name]),
		} {
			c.like(called(name, "then-"+what), append(bytes.Clone(c.good[name]), tail...), "", name)
		}
	}
}

// patched is a copy of b with some bytes replaced.
func patched(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

// inserted is a copy of b with some bytes put in.
func inserted(b []byte, at int, what []byte) []byte {
	return bytes.Join([][]byte{b[:at], what, b[at:]}, nil)
}
