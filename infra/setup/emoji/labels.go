package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// label is what the packages' emoji.json says about one image.
type label struct {
	key         string // relative to the gallery
	vendor      string
	category    string
	subcategory string
	shortName   string // the emoji: the same for all vendors and skin tones
	skinTone    string // "light" … "dark", two joined with '+', "none" for the yellow original; "" where an emoji has none
}

// emoji is one entry of emoji.json, as far as it matters here.
type emoji struct {
	Image          string             `json:"image"`
	Category       string             `json:"category"`
	Subcategory    string             `json:"subcategory"`
	ShortName      string             `json:"short_name"`
	SkinVariations map[string]variant `json:"skin_variations"`
}

type variant struct {
	Image string `json:"image"`
}

// tones names the Fitzpatrick modifiers of Unicode.
var tones = map[string]string{
	"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark",
}

// component is the category of the bare skin-tone swatches.
const component = "Component"

// readLabels maps the names of the images that belong into the gallery to their labels.
func readLabels(r io.Reader, vendor string) (map[string]label, error) {
	var all []emoji
	if err := json.NewDecoder(r).Decode(&all); err != nil {
		return nil, err
	}
	labels := make(map[string]label)
	for _, e := range all {
		if e.Category == component {
			continue
		}
		l := label{vendor: vendor, category: e.Category, subcategory: e.Subcategory, shortName: e.ShortName}
		if len(e.SkinVariations) > 0 {
			l.skinTone = "none"
		}
		labels[e.Image] = l.with(e.Image)
		for code, v := range e.SkinVariations {
			tone, err := toneNames(code)
			if err != nil {
				return nil, fmt.Errorf("emoji %s: %w", e.ShortName, err)
			}
			l.skinTone = tone
			labels[v.Image] = l.with(v.Image)
		}
	}
	return labels, nil
}

func (l label) with(image string) label {
	l.key = l.vendor + "/" + image
	return l
}

// toneNames translates "1F3FB-1F3FD" to "light+medium".
func toneNames(code string) (string, error) {
	parts := strings.Split(code, "-")
	for i, p := range parts {
		name, ok := tones[p]
		if !ok {
			return "", fmt.Errorf("%q is no skin tone", code)
		}
		parts[i] = name
	}
	return strings.Join(parts, "+"), nil
}

// writeLabels writes the table in the order of the keys.
func writeLabels(name string, rows []label) error {
	slices.SortFunc(rows, func(a, b label) int { return strings.Compare(a.key, b.key) })
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	_ = w.Write([]string{"key", "vendor", "category", "subcategory", "short_name", "skin_tone"}) // Flush keeps the error
	for _, l := range rows {
		_ = w.Write([]string{l.key, l.vendor, l.category, l.subcategory, l.shortName, l.skinTone})
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	return f.Close()
}
