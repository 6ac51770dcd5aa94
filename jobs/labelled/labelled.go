// Package labelled is the part of a job file that says what is known of a gallery's images, for the
// jobs that train and evaluate.
package labelled

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

// maxFile bounds the bytes of a file of labels.
const maxFile = 1 << 30

// Config is the key `labels` of a job file. Addresses are paths or s3://bucket/path.
type Config struct {
	Format  string   `yaml:"format"`  // "csv", "zappos" or "celeba"
	Path    string   `yaml:"path"`    // the table; for CelebA the attributes
	Key     string   `yaml:"key"`     // csv: column of the keys, or a pattern such as "{id}.jpg"
	Tasks   []string `yaml:"tasks"`   // a column each, or task=column
	Missing []string `yaml:"missing"` // csv: values that mean that there is no label
	Split   string   `yaml:"split"`   // csv: column of train, val or test
	Group   Group    `yaml:"group"`   // csv: splits where there is no such column
	// Triplets is a folder of filenames.json and TASK_tripletlist_{train,val,test}.txt.
	Triplets   string `yaml:"triplets"`
	Partition  string `yaml:"partition"`  // celeba: list_eval_partition.txt
	Identities string `yaml:"identities"` // celeba: identity_CelebA.txt
}

// Group splits images so that those with one value of a column are on one side.
type Group struct {
	Column string  `yaml:"column"`
	Val    float64 `yaml:"val"`
	Test   float64 `yaml:"test"`
}

// Reference is the description of the key `labels` for a job's help.
const Reference = `labels:
  format: csv                      # csv, zappos (UT-Zappos50K) or celeba
  path: styles.csv                 # or meta-data.csv, meta-data-bin.csv; list_attr_celeba.txt
  key: "{id}.jpg"                  # csv: column of the keys, or a pattern of columns
  tasks: [articleType, sex=gender] # columns, or task=column
  missing: [NA]                    # csv: values that mean no label; the empty one always does
  split: split                     # csv: column of train, val or test
  group: {column: name, val: 0.05, test: 0.15}  # csv: or split so that a value is on one side only
  triplets: lists/                 # folder of filenames.json and TASK_tripletlist_{train,val,test}.txt
  partition: list_eval_partition.txt            # celeba
  identities: identity_CelebA.txt               # celeba, for the task identity
`

// Defaults is the configuration before the job file.
func Defaults() Config { return Config{Format: "csv", Key: "key", Missing: []string{"NA"}} }

// Validate lists what is wrong with the configuration by itself; field is its own in the job file.
func (c *Config) Validate(field string) (problems []jobfile.Problem) {
	add := func(key, text, hint string) {
		problems = append(problems, jobfile.Problem{Field: field + "." + key, Text: text, Hint: hint})
	}
	switch c.Format {
	case "csv", "zappos", "celeba":
	default:
		add("format", fmt.Sprintf("is %q", c.Format), "one of csv, zappos, celeba")
	}
	if c.Path == "" && (c.Format != "celeba" || c.Identities == "") {
		add("path", "is missing", "write path: styles.csv")
	}
	if len(c.Tasks) == 0 {
		add("tasks", "is missing", "write tasks: [colour, sex=gender]")
	}
	if g := c.Group; g.Column != "" && c.Split != "" {
		add("group", "is given beside labels.split", "leave one of them out")
	} else if g.Val < 0 || g.Test < 0 || g.Val+g.Test > 1 {
		add("group", fmt.Sprintf("has shares of %v and %v", g.Val, g.Test), "they are 0 to 1 and together at most 1")
	}
	return problems
}

// Open reads the labels. The images' store is listed only for UT-Zappos50K, whose tables don't say in
// which folder an image lies. What is wrong with the files is a jobfile.ErrConfig.
func Open(ctx context.Context, c Config, images store.Lister) (*labels.Gallery, error) {
	g, err := c.read(ctx, images)
	if err == nil {
		err = c.readTriplets(ctx, g)
	}
	if err == nil && g.Len() == 0 {
		err = fmt.Errorf("%s: there is no image in it", c.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: labels: %w", jobfile.ErrConfig, err)
	}
	return g, nil
}

func (c *Config) read(ctx context.Context, images store.Lister) (*labels.Gallery, error) {
	table, err := open(ctx, c.Path)
	if err != nil {
		return nil, err
	}
	switch c.Format {
	case "zappos":
		keys, err := list(ctx, images)
		if err != nil {
			return nil, err
		}
		return labels.Zappos(table, keys, c.columns())
	case "celeba":
		files := labels.CelebAFiles{Attributes: table}
		if files.Partition, err = open(ctx, c.Partition); err != nil {
			return nil, err
		}
		if files.Identities, err = open(ctx, c.Identities); err != nil {
			return nil, err
		}
		return labels.CelebA(files, c.columns())
	}
	return labels.CSV(table, labels.CSVSpec{
		Key: c.Key, Tasks: c.columns(), Missing: c.Missing, Split: c.Split,
		Group: labels.Grouping{Column: c.Group.Column, Val: c.Group.Val, Test: c.Group.Test},
	})
}

func (c *Config) columns() (columns []labels.Column) {
	for _, t := range c.Tasks {
		task, column, renamed := strings.Cut(t, "=")
		if !renamed {
			column = task
		}
		columns = append(columns, labels.Column{Task: task, Name: column})
	}
	return columns
}

// open reads a file; the empty address is one that is not there.
func open(ctx context.Context, address string) (labels.Text, error) {
	if address == "" {
		return labels.Text{}, nil
	}
	root, key, err := store.Split(address)
	if err != nil {
		return labels.Text{}, err
	}
	s, err := store.Open(ctx, root)
	if err != nil {
		return labels.Text{}, err
	}
	data, _, err := store.ReadObject(ctx, s, key, nil, maxFile)
	if err != nil {
		return labels.Text{}, fmt.Errorf("read %s: %w", address, err)
	}
	return labels.Text{Name: address, Reader: bytes.NewReader(data)}, nil
}

// list is the keys of the JPEGs of a gallery.
func list(ctx context.Context, images store.Lister) (keys []string, err error) {
	for r, err := range images.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		if path.Ext(r.Key) == ".jpg" {
			keys = append(keys, r.Key)
		}
	}
	return keys, nil
}

// readTriplets reads the lists that there are; a folder without any is an error.
func (c *Config) readTriplets(ctx context.Context, g *labels.Gallery) error {
	if c.Triplets == "" {
		return nil
	}
	folder := strings.TrimSuffix(c.Triplets, "/") + "/"
	file, err := open(ctx, folder+"filenames.json")
	if err != nil {
		return err
	}
	names, err := labels.Filenames(file)
	if err != nil {
		return err
	}
	found := false
	for _, task := range g.Names() {
		for _, split := range []labels.Split{labels.Train, labels.Val, labels.Test} {
			name := fmt.Sprintf("%s%s_tripletlist_%s.txt", folder, task, split)
			list, err := open(ctx, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			found = true
			if err := g.Triplets(list, task, split, names); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("%s holds no list of the tasks %q, such as %s_tripletlist_train.txt", folder, g.Names(), g.Names()[0])
	}
	return nil
}
