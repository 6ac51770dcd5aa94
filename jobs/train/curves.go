package train

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"

	"github.com/facet-search/facet/modulation/train"
)

// curves writes what is known so far as CSV, and as PNG.
func (j *job) curves() error {
	curve, tasks := j.trainer.Curve(), j.net.Tasks
	if err := j.table("loss.csv", lossTable(curve, tasks)); err != nil {
		return err
	}
	if err := j.table("validation.csv", validationTable(curve, tasks)); err != nil {
		return err
	}
	ucr := j.trainer.Compliance()
	if ucr != nil {
		if err := j.table("compliance.csv", complianceTable(ucr)); err != nil {
			return err
		}
	}
	return j.pictures(curve, ucr)
}

func (j *job) table(name string, rows [][]string) error {
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return replace(j.path(name), b.Bytes())
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func lossTable(curve []train.Point, tasks []string) [][]string {
	rows := [][]string{append([]string{"step", "rate"}, tasks...)}
	for _, p := range curve {
		row := []string{strconv.Itoa(p.Step + 1), number(p.Rate)}
		for _, v := range p.Loss {
			row = append(row, number(v))
		}
		rows = append(rows, row)
	}
	return rows
}

func validationTable(curve []train.Point, tasks []string) [][]string {
	rows := [][]string{append([]string{"step"}, tasks...)}
	for _, p := range curve {
		if p.Validation == nil {
			continue
		}
		row := []string{strconv.Itoa(p.Step + 1)}
		for _, v := range p.Validation {
			if v == unmeasured {
				row = append(row, "")
				continue
			}
			row = append(row, number(v))
		}
		rows = append(rows, row)
	}
	return rows
}

// complianceTable has a row a layer and pair of tasks.
func complianceTable(c *train.Compliance) [][]string {
	rows := [][]string{{"layer", "task", "other", "batches", "ucr", "signs"}}
	for l, layer := range c.Layers {
		for j := range c.Tasks {
			for i := range j {
				ucr, signs := c.Ratio(l, i, j)
				rows = append(rows, []string{layer, c.Tasks[i], c.Tasks[j], strconv.Itoa(c.Batches), number(ucr), number(signs)})
			}
		}
	}
	return rows
}
