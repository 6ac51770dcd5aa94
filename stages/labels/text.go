package labels

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds the bytes of a line, and of a CSV file's row.
const maxLine = 1 << 20

// Text is a file: where its bytes come from, and the name that messages give it.
type Text struct {
	Name string
	io.Reader
}

// wrong says which line of the file is wrong.
func (t Text) wrong(line int, err error) error { return fmt.Errorf("%s:%d: %w", t.Name, line, err) }

// plain takes off a byte-order mark, and refuses UTF-16.
func plain(r io.Reader) (*bufio.Reader, error) {
	text := bufio.NewReader(r)
	first, _ := text.Peek(3) // an error comes again when it is read
	switch {
	case bytes.Equal(first, []byte("\xef\xbb\xbf")):
		_, err := text.Discard(len(first))
		return text, err
	case bytes.HasPrefix(first, []byte("\xff\xfe")), bytes.HasPrefix(first, []byte("\xfe\xff")):
		return nil, errors.New("it is UTF-16; save it as UTF-8")
	}
	return text, nil
}

// eachLine calls do with every line that is not blank, without its end and the blanks around it, and
// says in errors which one it was.
func (t Text) eachLine(do func(line int, text string) error) error {
	r, err := plain(t.Reader)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	line := 0
	for s.Scan() {
		line++
		text := strings.TrimSpace(s.Text())
		if text == "" {
			continue
		}
		if err := do(line, text); err != nil {
			return t.wrong(line, err)
		}
	}
	if err := s.Err(); err != nil {
		return t.wrong(line+1, err)
	}
	return nil
}
