package gate

import (
	"github.com/facet-search/facet/pipeline"
)

// members is a set of image ids that takes a bit an id ever allotted.
type members struct {
	next []int64 // by shard, the first sequence that was never allotted
	bits [][]uint64
}

func newMembers(next []int64) *members {
	return &members{next: next, bits: make([][]uint64, len(next))}
}

// place is where an id's bit is; ids that were never allotted have none.
func (m *members) place(id int64) (shard int, word int64, bit uint64, ok bool) {
	shard, sequence := int(id>>pipeline.ShardShift), id&(1<<pipeline.ShardShift-1)
	if id < 0 || shard >= len(m.next) || sequence >= m.next[shard] {
		return 0, 0, 0, false
	}
	return shard, sequence / 64, 1 << (sequence % 64), true
}

func (m *members) add(ids []int64) {
	for _, id := range ids {
		shard, word, bit, ok := m.place(id)
		if !ok {
			continue
		}
		if m.bits[shard] == nil {
			m.bits[shard] = make([]uint64, m.next[shard]/64+1)
		}
		m.bits[shard][word] |= bit
	}
}

func (m *members) has(id int64) bool {
	shard, word, bit, ok := m.place(id)
	return ok && m.bits[shard] != nil && m.bits[shard][word]&bit != 0
}
