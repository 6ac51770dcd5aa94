package compare

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is cells for people.
type table struct {
	header []string
	rows   [][]string
}

// String is the spread as "0.901 ±0.004".
func (s Spread) String() string {
	if math.IsNaN(float64(s.Deviation)) {
		return fmt.Sprintf("%.4f", s.Mean)
	}
	return fmt.Sprintf("%.4f ±%.4f", s.Mean, s.Deviation)
}

// quality is the first table: every method's tasks, and what the method costs in the row of their mean.
func (c *Comparison) quality() table {
	t := table{header: []string{"method", "task", "triplets right", "recall@1", "recall@10", "mAP", "parameters", "a task", "bytes/image", "MMACs/image", "images/s"}}
	for _, m := range c.Methods {
		for i, x := range slices.Concat([]TaskSummary{m.Mean}, m.Tasks) {
			row := []string{"", x.Task, x.TripletAccuracy.String(), x.Recall1.String(), x.Recall10.String(), x.MAP.String(), "", "", "", "", ""}
			if i == 0 {
				row[0] = string(m.Method)
				copy(row[6:], []string{
					strconv.Itoa(m.Size.Parameters), strconv.Itoa(m.Size.Own), strconv.Itoa(m.Size.Bytes),
					fmt.Sprintf("%.1f", float64(m.Size.MACs)/1e6), fmt.Sprintf("%.0f", m.ImagesPerSecond),
				})
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// compliance is the second table: a layer a row, a method a column; "batches / signs".
func (c *Comparison) compliance() table {
	t := table{header: []string{"layer"}}
	var layers []string
	cells := map[[2]string]string{}
	for _, m := range c.Methods {
		if len(m.UCR) == 0 {
			continue
		}
		t.header = append(t.header, string(m.Method))
		for _, u := range m.UCR {
			if !slices.Contains(layers, u.Layer) {
				layers = append(layers, u.Layer)
			}
			cells[[2]string{u.Layer, string(m.Method)}] = fmt.Sprintf("%.2f / %.2f", u.Batches, u.Signs)
		}
	}
	for _, l := range layers {
		row := []string{l}
		for _, m := range t.header[1:] {
			row = append(row, cells[[2]string{l, m}])
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// caption says what the figures are.
func (c *Comparison) caption() string {
	against := c.Measure.Against
	if c.Measure.Limit > 0 {
		against = fmt.Sprintf("the first %d of %s", c.Measure.Limit, against)
	}
	return fmt.Sprintf("%d steps (%d images drawn) a run; seeds %v: mean ± standard deviation; queries: %s, searched in: %s, %d triplets a task",
		c.Steps, c.Methods[0].Draws, c.Seeds, c.Measure.Queries, against, c.Measure.Triplets)
}

const complianceCaption = "Update compliance a layer, mean over pairs of tasks: share of batches whose gradients agree / share of weights that agree in sign"

// WriteText prints the tables for a terminal.
func (c *Comparison) WriteText(w io.Writer) error {
	fmt.Fprintln(w, c.caption())
	if err := c.quality().text(w); err != nil {
		return err
	}
	ucr := c.compliance()
	if len(ucr.rows) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", complianceCaption)
	return ucr.text(w)
}

func (t table) text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.header, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}

// WriteMarkdown prints the tables for a document.
func (c *Comparison) WriteMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%s.\n\n", c.caption())
	c.quality().markdown(w)
	if ucr := c.compliance(); len(ucr.rows) > 0 {
		fmt.Fprintf(w, "\n%s.\n\n", complianceCaption)
		ucr.markdown(w)
	}
}

func (t table) markdown(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.header)
	line(slices.Repeat([]string{"---"}, len(t.header)))
	for _, r := range t.rows {
		line(r)
	}
}

// WriteCSV prints one row a method and task, numbers alone in each cell.
func (c *Comparison) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{ // Flush keeps the error
		"method", "task", "seeds", "triplet_accuracy", "triplet_accuracy_sd", "recall_1", "recall_1_sd", "recall_10", "recall_10_sd", "map", "map_sd",
		"parameters", "task_parameters", "embedding_bytes", "macs", "images_per_second"})
	number := func(v float64) string {
		if math.IsNaN(v) {
			return ""
		}
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	for _, m := range c.Methods {
		for _, t := range slices.Concat([]TaskSummary{m.Mean}, m.Tasks) {
			row := []string{string(m.Method), t.Task, strconv.Itoa(len(c.Seeds))}
			for _, s := range []Spread{t.TripletAccuracy, t.Recall1, t.Recall10, t.MAP} {
				row = append(row, number(float64(s.Mean)), number(float64(s.Deviation)))
			}
			for _, n := range []int{m.Size.Parameters, m.Size.Own, m.Size.Bytes, m.Size.MACs} {
				row = append(row, strconv.Itoa(n))
			}
			_ = out.Write(append(row, number(m.ImagesPerSecond)))
		}
	}
	out.Flush()
	return out.Error()
}

// write leaves the tables in a folder.
func (c *Comparison) write(dir string) error {
	var text, markdown, table bytes.Buffer
	if err := c.WriteText(&text); err != nil {
		return err
	}
	c.WriteMarkdown(&markdown)
	if err := c.WriteCSV(&table); err != nil {
		return err
	}
	doc, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return fmt.Errorf("encode comparison: %w", err)
	}
	for name, data := range map[string][]byte{"table.txt": text.Bytes(), "table.md": markdown.Bytes(), "table.csv": table.Bytes(), "comparison.json": append(doc, '\n')} {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}
