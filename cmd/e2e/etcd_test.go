package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/cmd/weft/lab"
)

const prefix = "/coreos.com/network/subnets/"

// etcdClient speaks to the etcd on a lab's switch as etcdctl would. It goes
// through a forwarder, since connections must be made inside the namespace.
func etcdClient(t testing.TB, l *lab.Lab) *clientv3.Client {
	t.Helper()
	door := get(t, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") })
	t.Cleanup(func() { door.Close() })
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			go forward(c, l.Switch, switchAddr.String()+":2379")
		}
	}()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + door.Addr().String()}, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// forward joins a connection with one made at a place; when either ends, so
// does the other.
func forward(c net.Conn, at *lab.Place, addr string) {
	defer c.Close()
	var far net.Conn
	if err := at.Do(func() (err error) { far, err = net.Dial("tcp", addr); return }); err != nil {
		return
	}
	defer far.Close()
	go func() {
		io.Copy(far, c)
		far.Close()
		c.Close()
	}()
	io.Copy(c, far)
}

// A stored is a lease as it is in etcd.
type stored struct {
	key, value string
	lease      clientv3.LeaseID
}

// leases lists the lease keys.
func leases(t testing.TB, c *clientv3.Client) map[string]stored {
	t.Helper()
	r, err := c.Get(within(t), prefix, clientv3.WithPrefix())
	must(t, err)
	m := map[string]stored{}
	for _, kv := range r.Kvs {
		key := string(kv.Key[len(prefix):])
		m[key] = stored{key, string(kv.Value), clientv3.LeaseID(kv.Lease)}
	}
	return m
}

func put(t testing.TB, c *clientv3.Client, key, value string) {
	t.Helper()
	_, err := c.Put(within(t), prefix+key, value)
	must(t, err)
}

func remove(t testing.TB, c *clientv3.Client, key string) {
	t.Helper()
	r, err := c.Delete(within(t), prefix+key)
	must(t, err)
	if r.Deleted != 1 {
		t.Fatalf("there was no key %s", key)
	}
}

// awaitPut waits until a key is put after a revision.
func awaitPut(t testing.TB, c *clientv3.Client, key string, after int64) *clientv3.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	for r := range c.Watch(ctx, prefix+key, clientv3.WithRev(after+1)) {
		must(t, r.Err())
		for _, e := range r.Events {
			if e.Type == clientv3.EventTypePut {
				return e
			}
		}
	}
	t.Fatalf("%s was not put: %v", key, context.Cause(ctx))
	return nil
}

// udpLease is a lease as flannel's udp backend writes it.
func udpLease(publicIP string) string {
	return fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null}`, publicIP)
}
