package onnx

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxMessages bounds what decoding allocates. An empty message takes two bytes of a file and up to
	// 350 of memory, so without a bound 20 MB could ask for 3 GB. The largest image networks have about
	// a hundred thousand messages.
	maxMessages = 1 << 20
	// maxDepth bounds the nesting of messages. Graph, node, attribute and tensor are four levels, and
	// every control-flow body adds three.
	maxDepth = 64
)

// scan walks the messages of an encoded model without decoding them, and refuses what would take too
// much memory or stack.
func scan(b []byte, m proto.Message) error {
	left := maxMessages
	return scanMessage(b, m.ProtoReflect().Descriptor(), maxDepth, &left)
}

func scanMessage(b []byte, d protoreflect.MessageDescriptor, depth int, left *int) error {
	if depth == 0 {
		return fmt.Errorf("messages are nested deeper than %d", maxDepth)
	}
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d messages", maxMessages)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := d.Fields().ByNumber(num)
		if f == nil || f.Message() == nil || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		sub, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := scanMessage(sub, f.Message(), depth-1, left); err != nil {
			return err
		}
	}
	return nil
}
