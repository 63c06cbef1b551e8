package filter

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

var (
	exprs = flag.Int("filter.exprs", 250, "random expressions to compare with tcpdump's compiler")
	seed  = flag.Uint64("filter.seed", 1, "of the random expressions and packets")
)

// errOptimizer is a difference between libpcap with its optimizer and without. There
// are a few in libpcap 1.10.3, in long expressions that test one field in many
// places, and the optimized program is the wrong one.
var errOptimizer = errors.New("libpcap's optimizer changes an expression")

// compilesAs compiles expr with both compilers, with and without libpcap's
// optimizer, and compares what they say of packets.
func compilesAs(expr string, packets int, r *rand.Rand) (known bool, err error) {
	plain, err := libpcap(expr, false)
	if err != nil {
		return false, nil
	}
	f, err := Compile(expr)
	if err != nil {
		return true, fmt.Errorf("libpcap compiles %q, we do not: %w", expr, err)
	}
	fast, optErr := libpcap(expr, true)
	var changed error
	for range packets {
		b, length := randomPacket(r)
		p := &Packet{Inner: b, InnerLen: length}
		want, err := plain.match(b, length)
		if err != nil {
			return true, fmt.Errorf("%q: %w", expr, err)
		}
		end := f.run(p)
		if got := end == accept; got != want {
			return true, fmt.Errorf("%q on % x (%d on the wire): %v, libpcap %v", expr, b, length, got, want)
		}
		if optErr != nil || end == aborted {
			continue // the optimizer may leave out a load that nothing depends on
		}
		if got, err := fast.match(b, length); (err != nil || got != want) && changed == nil {
			changed = fmt.Errorf("%w: %q on % x (%d on the wire): plain %v, optimized %v (%v)",
				errOptimizer, expr, b, length, want, got, err)
		}
	}
	return true, changed
}

func TestRandomAgainstLibpcap(t *testing.T) {
	needTcpdump(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	compiled, changed := 0, 0
	const workers = 2
	for worker := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*seed, uint64(worker)))
			for range *exprs / workers {
				expr := writer{r}.expr(2)
				ok, err := compilesAs(expr, 300, r)
				mu.Lock()
				if ok {
					compiled++
				}
				if errors.Is(err, errOptimizer) {
					changed++
					t.Log(err)
				} else if err != nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d expressions are libpcap's too", compiled, *exprs)
	if changed > 1+*exprs/100 {
		t.Errorf("libpcap's optimizer changes %d of %d expressions", changed, *exprs)
	}
	if compiled < *exprs*2/3 {
		t.Errorf("only %d of %d expressions are such that libpcap compiles them", compiled, *exprs)
	}
}
