package sinks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/facet-search/facet/pipeline"
)

// Quarantined is a row of the quarantine.
type Quarantined struct {
	ID     int64           `json:"image_id"`
	Key    string          `json:"-"` // any bytes
	Text   string          `json:"key"`
	ETag   string          `json:"etag"`
	Bytes  int64           `json:"bytes"` // -1 where nobody knows
	Reason pipeline.Reason `json:"reason"`
	Error  string          `json:"error"`
}

const (
	// maxError bounds what the quarantine keeps of an error's text, to which it adds the mark of a cut.
	maxError = 1000
	cut      = "…"
)

// quarantined describes a rejected item. What an earlier night has written comes out the same.
func quarantined(it *pipeline.Item) Quarantined {
	text := strings.ToValidUTF8(it.Reject.Err.Error(), "\uFFFD")
	if len(text) > maxError+len(cut) {
		text = strings.ToValidUTF8(text[:maxError], "") + cut
	}
	return Quarantined{
		ID: it.ID, Key: it.Key, Text: keyText(it.Key), ETag: it.ETag, Bytes: it.Size, Reason: it.Reject.Reason, Error: text,
	}
}

// keyText is how a table holds a key. No Parquet reader would take one that is no valid UTF-8, so it is
// quoted, its bad bytes escaped; and so is a key that looks quoted.
func keyText(key string) string {
	if !utf8.ValidString(key) || strings.HasPrefix(key, `"`) {
		return fmt.Sprintf("%+q", key)
	}
	return key
}

// keyOf is the key that keyText has written.
func keyOf(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		return text, nil
	}
	key, err := strconv.Unquote(text)
	if err != nil {
		return "", fmt.Errorf("%w Parquet: key %s: %w", ErrDamaged, text, err)
	}
	return key, nil
}

func quarantineSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "image_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "key", Type: arrow.BinaryTypes.String},
		{Name: "etag", Type: arrow.BinaryTypes.String},
		{Name: "bytes", Type: arrow.PrimitiveTypes.Int64},
		{Name: "reason", Type: arrow.BinaryTypes.String},
		{Name: "error", Type: arrow.BinaryTypes.String},
	}, nil)
}

func (q Quarantined) append(t *table) error {
	f := t.rows.Fields()
	f[0].(*array.Int64Builder).Append(q.ID)
	f[1].(*array.StringBuilder).Append(q.Text)
	f[2].(*array.StringBuilder).Append(q.ETag)
	f[3].(*array.Int64Builder).Append(q.Bytes)
	f[4].(*array.StringBuilder).Append(string(q.Reason))
	f[5].(*array.StringBuilder).Append(q.Error)
	return t.rowDone()
}

// ReadQuarantine reads a quarantine file row by row.
func ReadQuarantine(ctx context.Context, data []byte, do func(Quarantined) error) error {
	return readTable(ctx, data, func(rec arrow.RecordBatch) error {
		id, err := column[*array.Int64](rec, "image_id")
		if err != nil {
			return err
		}
		size, err := column[*array.Int64](rec, "bytes")
		if err != nil {
			return err
		}
		var text [4]*array.String
		for i, name := range []string{"key", "etag", "reason", "error"} {
			if text[i], err = column[*array.String](rec, name); err != nil {
				return err
			}
		}
		for i := range int(rec.NumRows()) {
			q := Quarantined{
				ID: id.Value(i), Text: text[0].Value(i), ETag: text[1].Value(i), Bytes: size.Value(i),
				Reason: pipeline.Reason(text[2].Value(i)), Error: text[3].Value(i),
			}
			if q.Key, err = keyOf(q.Text); err != nil {
				return err
			}
			if err := do(q); err != nil {
				return err
			}
		}
		return nil
	})
}
