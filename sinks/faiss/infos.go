package faiss

import (
	"encoding/json"
	"io"
)

// Infos is index_infos.json: autofaiss's keys for what it measures too, and ours below. A figure
// that was not measured is left out. The latencies differ from run to run, so the file takes no part
// in the digest that names an index.
//
// Where autofaiss measures with vectors of the index, the figures here come from vectors that were
// held out, so a query never finds itself.
type Infos struct {
	Key         string   `json:"index_key"`   // the factory string
	Param       string   `json:"index_param"` // search parameters; the file holds them too
	Path        string   `json:"index_path"`
	Size        int64    `json:"size in bytes"`
	Average     *float64 `json:"avg_search_speed_ms,omitempty"`
	P99         *float64 `json:"99p_search_speed_ms,omitempty"`
	Vectors     int64    `json:"nb vectors"`
	Dim         int      `json:"vectors dimension"`
	Compression float64  `json:"compression ratio"`

	OneRecall20    *float64 `json:"1-recall@20,omitempty"`
	OneRecall40    *float64 `json:"1-recall@40,omitempty"`
	Intersection20 *float64 `json:"20-recall@20,omitempty"`
	Intersection40 *float64 `json:"40-recall@40,omitempty"`

	Recall10 *float64 `json:"recall@10,omitempty"`
	Queries  int      `json:"held-out queries"`
	Searched int64    `json:"nb vectors searched"` // without the held-out ones
	Metric   string   `json:"metric"`
	Type     string   `json:"index type"`
	Task     string   `json:"task"`
}

// NewInfos joins what is known of a written index. Path is how its readers know the file.
func NewInfos(spec Spec, path string, report Report, stats Stats, size int64) Infos {
	i := Infos{
		Key: spec.Factory, Param: report.Params, Path: path, Size: size,
		Average: report.AverageMillis, P99: report.P99Millis,
		Vectors: stats.Total, Dim: stats.Dim,
		OneRecall20: report.OneRecall20, OneRecall40: report.OneRecall40,
		Intersection20: report.Intersection20, Intersection40: report.Intersection40,
		Recall10: report.Recall10, Queries: report.Queries, Searched: report.Vectors,
		Metric: string(stats.Metric), Type: stats.Type, Task: spec.Task.Name,
	}
	if size > 0 {
		i.Compression = 4 * float64(stats.Total) * float64(stats.Dim) / float64(size)
	}
	return i
}

// Encode writes the JSON document.
func (i Infos) Encode(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(i)
}
