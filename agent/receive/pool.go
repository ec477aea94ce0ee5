package receive

import "sync"

// pool is the memory that bodies take. No address has more than half of it by several
// requests at once: who sends slowly keeps no others out.
type pool struct {
	size int64

	mtx       sync.Mutex
	free      int64
	byAddress map[string]int64 // that is taken
}

func newPool(size int64) *pool { return &pool{size: size, free: size, byAddress: map[string]int64{}} }

// take reports whether a request of an address that has some bytes gets n more.
func (p *pool) take(address string, has, n int64) bool {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	others := p.byAddress[address] - has
	if n > p.free || others > 0 && others+has+n > p.size/2 {
		return false
	}
	p.free -= n
	p.byAddress[address] += n
	return true
}

func (p *pool) giveBack(address string, n int64) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.free += n
	if p.byAddress[address] -= n; p.byAddress[address] == 0 {
		delete(p.byAddress, address)
	}
}
