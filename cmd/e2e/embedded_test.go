package e2e

import (
	"testing"

	"weft/cmd/weft/lab"
)

// The node that holds the etcd stops as promptly as any other, although all
// others watch it.
func TestNodeWithEtcdStops(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreNode})
	n := l.Nodes[0]
	m := markLog(t, n)
	must(t, n.Stop(within(t)))
	if len(m.find(t, `"msg":"weft ends"`)) != 1 || len(m.find(t, "leaving it behind")) != 0 {
		t.Errorf("%s did not stop by itself", n.Name)
	}
	must(t, n.Start(within(t)))
	awaitPing(t, l.Nodes[1].Pod, n.PodAddr())
}
