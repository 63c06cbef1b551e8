package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"

	"weft/lease"
	"weft/perf/lab"
)

// mixed is a cluster of both kinds of nodes: one host runs `weft up` with the
// vxlan backend, the other is a kernel VXLAN node as flanneld sets it up.
//
//	  weft's host                                  the kernel's host
//	cni0 ─ flannel0 ─ weft ─ socket, port 8472 ═══ flannel.1 ─ cni0
//	                   │                               ▲
//	                   ╰──── folder of leases ─────────╯
//
// weft finds the kernel's host by its lease in the folder. flanneld would read
// weft's lease there; here it is read once, after weft is ready, and becomes
// the kernel's neighbour, forwarding entry and route.
//
// The load's sender is on host 0. So the kind with weft on host 0 measures
// weft as the sender to a kernel, and the other one the kernel as the sender
// to weft. Only the bulk goes one way: TCP's acknowledgements go the other.
type mixed struct {
	options  Options
	weftHost int // the host that runs weft, 0 or 1
	node     *Node
	mtu      int
}

func (m *mixed) Setup(ctx context.Context, l *lab.Lab) error {
	leases := filepath.Join(l.Dir, "leases")
	if err := WriteConfig(leases, network, "vxlan"); err != nil {
		return err
	}
	own, kernel := l.Hosts[m.weftHost], l.Hosts[1-m.weftHost]
	if err := addKernelNode(leases, kernel, hardwareAddr(1-m.weftHost)); err != nil {
		return err
	}
	if err := m.start(ctx, leases, own); err != nil {
		return err
	}
	return introduce(ctx, leases, kernel, own, nodeName(m.weftHost))
}

// addKernelNode makes h a kernel VXLAN node whose device has the given
// address: the device, and the lease by which others find it.
func addKernelNode(leases string, h *lab.Host, mac net.HardwareAddr) error {
	if err := addVTEP(h, mac); err != nil {
		return fmt.Errorf("vxlan in %s: %w", h.Name(), err)
	}
	l, err := kernelLease(h, mac)
	if err != nil {
		return err
	}
	return WriteLease(leases, l)
}

// kernelLease is the lease that flanneld would write for a kernel VXLAN node
// (flannel pkg/backend/vxlan/vxlan.go).
func kernelLease(h *lab.Host, mac net.HardwareAddr) (lease.Lease, error) {
	data, err := json.Marshal(lease.VTEP{VNI: vni, MAC: [6]byte(mac)})
	return lease.Lease{
		Subnet: h.Subnet,
		Attrs:  lease.Attrs{PublicIP: h.Addr, BackendType: "vxlan", BackendData: data},
	}, err
}

// start starts weft and waits for its subnet.
func (m *mixed) start(ctx context.Context, leases string, h *lab.Host) (err error) {
	if m.node, err = StartNode(h, leases, m.options, nil, "--node-name="+nodeName(m.weftHost)); err != nil {
		return err
	}
	env, err := m.node.Ready(ctx)
	if err != nil {
		return err
	}
	h.Subnet, m.mtu = env.Subnet, env.MTU
	if want := new(kernelVXLAN).MTU(); m.mtu != want {
		return fmt.Errorf("weft in %s has an MTU of %d, the kernel's device one of %d", h.Name(), m.mtu, want)
	}
	return nil
}

// introduce tells the kernel's host how to reach weft's, by what weft's lease
// says.
func introduce(ctx context.Context, leases string, kernel, other *lab.Host, name string) error {
	v, err := readVTEP(ctx, leases, name, other.Addr)
	if err != nil {
		return err
	}
	if v.VNI != vni {
		return fmt.Errorf("lease of %s: VNI is %d, not %d", name, v.VNI, vni)
	}
	if kernel.Subnet.Overlaps(other.Subnet) {
		return fmt.Errorf("weft chose the subnet %v, which overlaps the leased %v", other.Subnet, kernel.Subnet)
	}
	if err := addPeer(kernel, other, v.MAC[:]); err != nil {
		return fmt.Errorf("vxlan peer in %s: %w", kernel.Name(), err)
	}
	return nil
}

func (m *mixed) MTU() int { return m.mtu }

func (m *mixed) Device(host int) string {
	if host == m.weftHost {
		return weftDevice
	}
	return vxlanDevice
}

func (m *mixed) Processes() []int { return []int{m.node.PID()} }

func (m *mixed) Teardown() error {
	if m.node == nil {
		return nil
	}
	return m.node.Stop()
}
