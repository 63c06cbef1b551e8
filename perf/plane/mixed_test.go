package plane

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weft/lease"
	"weft/perf/lab"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("laying network namespaces needs root")
	}
}

// newLab lays a lab that the test removes.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	needRoot(t)
	l, err := lab.New(lab.WireLike)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// patience is how long a connection within the machine may take before a test
// fails.
const patience = 10 * time.Second

// exchange sends a text from pod to pod over TCP and back, longer than a
// packet, so that full ones must pass.
func exchange(l *lab.Lab, from, to int) error {
	const size = 16 << 10
	address := fmt.Sprintf("%v:5201", l.Hosts[to].PodAddr())
	var listener net.Listener
	err := l.Hosts[to].Pod.Do(func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() { // ends with the connection, or with the listener
		if c, err := listener.Accept(); err == nil {
			defer c.Close()
			io.Copy(c, c)
		}
	}()
	var c net.Conn
	err = l.Hosts[from].Pod.Do(func() (err error) {
		c, err = net.DialTimeout("tcp4", address, patience)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	sent, got := strings.Repeat("weft", size/4), make([]byte, size)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, writeErr := io.WriteString(c, sent)
	_, readErr := io.ReadFull(c, got)
	if err := errors.Join(writeErr, readErr); err != nil {
		return err
	}
	if string(got) != sent {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

func TestKernelVXLANConnects(t *testing.T) {
	l := newLab(t)
	p := new(kernelVXLAN)
	if err := p.Setup(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := l.AttachPods(p.MTU()); err != nil {
		t.Fatal(err)
	}
	if err := exchange(l, 0, 1); err != nil {
		t.Error(err)
	}
}

// TestKernelNodeKnowsLease sets up the kernel's host of a mixed plane. Weft's
// host is played by another kernel VXLAN device, whose address stands only in
// the record that weft's store wrote.
func TestKernelNodeKnowsLease(t *testing.T) {
	for weftHost := range 2 {
		l := newLab(t)
		played, kernel := l.Hosts[weftHost], l.Hosts[1-weftHost]
		leases, name := filepath.Join(l.Dir, "leases"), nodeName(weftHost)
		if err := WriteConfig(leases, network, "vxlan"); err != nil {
			t.Fatal(err)
		}
		if err := addKernelNode(leases, kernel, hardwareAddr(1-weftHost)); err != nil {
			t.Fatal(err)
		}
		mac := net.HardwareAddr{0x7e, 0x4d, 0xf4, 0x69, 0x11, byte(0x21 + weftHost)}
		attrs, err := kernelLease(played, mac)
		if err != nil {
			t.Fatal(err)
		}
		played.Subnet = claim(t, leases, name, attrs.Attrs).Subnet
		if err := errors.Join(addVTEP(played, mac), addPeer(played, kernel, vtepInFolder(t, leases, kernel))); err != nil {
			t.Fatal(err)
		}
		if err := introduce(t.Context(), leases, kernel, played, name); err != nil {
			t.Fatal(err)
		}
		if err := l.AttachPods(new(kernelVXLAN).MTU()); err != nil {
			t.Fatal(err)
		}
		if err := exchange(l, 0, 1); err != nil {
			t.Errorf("weft on host %d: %v", weftHost, err)
		}
		checkDevice(t, kernel)
	}
}

// vtepInFolder is the endpoint that the folder tells of a host.
func vtepInFolder(t *testing.T, leases string, h *lab.Host) net.HardwareAddr {
	t.Helper()
	for _, e := range firstUpdate(t, leases) {
		if e.Lease.Subnet == h.Subnet {
			v, err := e.Lease.Attrs.VTEP(4)
			if err != nil {
				t.Fatal(err)
			}
			return v.MAC[:]
		}
	}
	t.Fatalf("no lease of %v", h.Subnet)
	return nil
}

// checkDevice checks that a host's VXLAN device is as flanneld makes it.
func checkDevice(t *testing.T, h *lab.Host) {
	t.Helper()
	link, err := h.Netlink().LinkByName(vxlanDevice)
	if err != nil {
		t.Fatal(err)
	}
	v, ok := link.(*netlink.Vxlan)
	if !ok || v.MTU != 1450 || v.VxlanId != 1 || v.Port != 8472 || v.Learning || !v.UDPCSum {
		t.Errorf("device %+v, want VNI 1, port 8472, MTU 1450, checksums and no learning", link)
	}
}

// TestIntroduceErrors checks that a lease which does not fit is refused, not
// measured.
func TestIntroduceErrors(t *testing.T) {
	l := newLab(t)
	weft, kernel := l.Hosts[0], l.Hosts[1]
	for _, tt := range []struct{ data, subnet, want string }{
		{`{"VNI":2,"VtepMAC":"7e:4d:f4:69:11:21"}`, "10.5.1.0/24", "VNI is 2"},
		{`{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`, "10.5.2.0/25", "overlaps"},
		{`{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`, "10.5.1.0/24", vxlanDevice}, // which is not there
	} {
		leases := t.TempDir()
		if err := WriteConfig(leases, network, "vxlan"); err != nil {
			t.Fatal(err)
		}
		claim(t, leases, "host-a", lease.Attrs{PublicIP: weft.Addr, BackendType: "vxlan", BackendData: []byte(tt.data)})
		weft.Subnet = netip.MustParsePrefix(tt.subnet)
		if err := introduce(t.Context(), leases, kernel, weft, "host-a"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %s: error %v, want one with %q", tt.data, tt.subnet, err, tt.want)
		}
	}
}
