package faiss

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"unsafe"
)

// The parent sends one request at a time and waits for its reply. A message is a frame: the length
// of the head (uint32), the length of the body (uint64), the head as JSON, the body. Bodies are raw
// ids (int64) and vectors (float32) in the machine's own byte order, since both ends are one binary
// on one machine.

// protocol is the child's first word. It changes with the messages, in case the binary on disk was
// replaced while its parent ran.
const protocol = "facet faiss 2"

const (
	maxHead   = 1 << 20
	maxBody   = 1 << 36
	frameHead = 12
)

// request is what the parent asks for. N counts the vectors in the body.
type request struct {
	Op     string
	Spec   *Spec  `json:",omitempty"`
	Path   string `json:",omitempty"`
	Params string `json:",omitempty"`
	N      int    `json:",omitempty"`
	K      int    `json:",omitempty"`
	From   int64  `json:",omitempty"`
	Memory int64  `json:",omitempty"`
}

// reply answers a request, or is the child's first word.
type reply struct {
	Err    string  `json:",omitempty"`
	Hello  string  `json:",omitempty"`
	N      int     `json:",omitempty"` // how many ids, or ids and distances, the body holds
	Size   int64   `json:",omitempty"`
	Stats  *Stats  `json:",omitempty"`
	Report *Report `json:",omitempty"`
}

// conn carries messages over a pair of pipes.
type conn struct {
	r    *bufio.Reader
	w    *bufio.Writer
	left uint64 // bytes of the received body that were not read yet
}

func newConn(r io.Reader, w io.Writer) *conn {
	return &conn{r: bufio.NewReaderSize(r, 1<<16), w: bufio.NewWriterSize(w, 1<<16)}
}

func (c *conn) send(head any, body ...[]byte) error {
	h, err := json.Marshal(head)
	if err != nil {
		return err
	}
	var size uint64
	for _, b := range body {
		size += uint64(len(b))
	}
	if len(h) > maxHead || size > maxBody {
		return fmt.Errorf("a message of %d + %d bytes is too large", len(h), size)
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(h)))
	frame = binary.LittleEndian.AppendUint64(frame, size)
	for _, b := range append([][]byte{frame, h}, body...) {
		if _, err := c.w.Write(b); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

// receive reads the next message's head; its body is to be read before the next call.
func (c *conn) receive(head any) error {
	if c.left > 0 {
		return fmt.Errorf("%d bytes of the last message were left unread", c.left)
	}
	var frame [frameHead]byte
	if _, err := io.ReadFull(c.r, frame[:]); err != nil {
		return err
	}
	n, size := binary.LittleEndian.Uint32(frame[:4]), binary.LittleEndian.Uint64(frame[4:])
	if n > maxHead || size > maxBody {
		return fmt.Errorf("not a message: it claims %d + %d bytes", n, size)
	}
	h := make([]byte, n)
	if _, err := io.ReadFull(c.r, h); err != nil {
		return err
	}
	c.left = size
	return json.Unmarshal(h, head)
}

// body reads the parts of the last message's body in turn.
func (c *conn) body(parts ...[]byte) error {
	for _, p := range parts {
		if uint64(len(p)) > c.left {
			return fmt.Errorf("a body is %d bytes short", uint64(len(p))-c.left)
		}
		n, err := io.ReadFull(c.r, p)
		c.left -= uint64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// skip drops what is left of the last message's body.
func (c *conn) skip() error {
	_, err := io.CopyN(io.Discard, c.r, int64(c.left))
	c.left = 0
	return err
}

// raw is the memory of v.
func raw[T int64 | float32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
