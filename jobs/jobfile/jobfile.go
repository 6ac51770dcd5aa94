// Package jobfile reads the YAML file of a job into its configuration: unknown keys and values of
// the wrong kind are refused with the line that they stand on, and so is whatever the job's own
// validation objects to.
package jobfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/goccy/go-yaml"
)

// ErrConfig marks errors that the user mends in the job file or on the command line.
var ErrConfig = errors.New("configuration")

// File is a job file's text, kept so that problems found later can be given a line.
type File struct {
	name string
	text []byte
}

// Problem is an objection to one value.
type Problem struct {
	Field string // path of the value, as in "limits.reject"
	Text  string // what is wrong
	Hint  string // what to write instead; may be ""
}

// Load reads a file into config, a pointer to a struct that holds the defaults.
func Load(name string, config any) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: job file: %w", ErrConfig, err)
	}
	f := &File{name: name, text: text}
	if err := yaml.UnmarshalWithOptions(text, config, yaml.Strict()); err != nil {
		return nil, f.describe(err)
	}
	return f, nil
}

// describe puts a decoding error into the form of "file:line:column: what".
func (f *File) describe(err error) error {
	var ye yaml.Error
	if !errors.As(err, &ye) || ye.GetToken() == nil {
		return fmt.Errorf("%w: %s: %w", ErrConfig, f.name, err)
	}
	at := ye.GetToken().Position
	hint := ""
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		hint = "; `facet COMMAND --help` lists the keys"
	}
	return fmt.Errorf("%w: %s:%d:%d: %s%s", ErrConfig, f.name, at.Line, at.Column, ye.GetMessage(), hint)
}

// Check turns problems into one error, each with the line of its value. f may be nil when there was
// no file.
func (f *File) Check(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	var lines []string
	for _, p := range problems {
		s := fmt.Sprintf("%s%s: %s", f.position(p.Field), p.Field, p.Text)
		if p.Hint != "" {
			s += " (" + p.Hint + ")"
		}
		lines = append(lines, s)
	}
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(lines, "\n  "))
}

// position is "file:line: " of a field, or of the file when the field does not stand in it.
func (f *File) position(field string) string {
	if f == nil {
		return ""
	}
	for ; field != ""; field = parent(field) {
		path, err := yaml.PathString("$." + field)
		if err != nil {
			continue
		}
		node, err := path.ReadNode(strings.NewReader(string(f.text)))
		if err == nil && node.GetToken() != nil {
			return fmt.Sprintf("%s:%d: ", f.name, node.GetToken().Position.Line)
		}
	}
	return f.name + ": "
}

func parent(field string) string {
	i := strings.LastIndexByte(field, '.')
	return field[:max(i, 0)]
}

// Quantity is a count or a number of bytes, written as a number or with a unit: 64M, 64MiB, 1.5GB.
type Quantity int64

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (q *Quantity) UnmarshalYAML(decode func(any) error) error {
	var s string
	if err := decode(&s); err != nil {
		return err
	}
	return q.Set(s)
}

// Set implements pflag.Value.
func (q *Quantity) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a quantity such as 1000, 64M or 64MiB", s)
	}
	*q = Quantity(n)
	return nil
}

// String implements pflag.Value.
func (q *Quantity) String() string { return fmt.Sprint(int64(*q)) }

// Type implements pflag.Value.
func (q *Quantity) Type() string { return "quantity" }
