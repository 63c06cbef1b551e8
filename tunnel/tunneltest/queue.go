package tunneltest

import "sync"

// A queue is an unbounded list that can be waited for.
type queue[T any] struct {
	mu     sync.Mutex
	more   sync.Cond
	items  []T
	closed bool
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
	q.more.L = &q.mu
	return q
}

func (q *queue[T]) put(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
	q.more.Signal()
}

// take waits for items and returns the first most of them, or all if most is
// negative. It reports false once the queue is closed.
func (q *queue[T]) take(most int) ([]T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return nil, false
	}
	if most < 0 || most > len(q.items) {
		most = len(q.items)
	}
	got := q.items[:most:most]
	q.items = q.items[most:]
	return got, true
}

// drain returns all items without waiting.
func (q *queue[T]) drain() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	got := q.items
	q.items = nil
	return got
}

// close ends all waiting; what is still queued can be drained.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}

func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}
