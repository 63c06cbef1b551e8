package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"weft/lease"
	"weft/lease/file"
)

// WriteConfig writes the network configuration into a folder of leases: the
// pods' network in CIDR form, and the type of the backend.
func WriteConfig(leases, network, backend string) error {
	if err := os.MkdirAll(leases, 0o755); err != nil {
		return err
	}
	conf := fmt.Sprintf(`{"Network": %q, "Backend": {"Type": %q}}`, network, backend)
	return os.WriteFile(filepath.Join(leases, "net-conf.json"), []byte(conf), 0o644)
}

// WriteLease writes the lease of a node that does not run weft into a folder
// of leases, in the form of package lease/file. It has no heartbeat, as one
// that an administrator wrote, and so never expires.
func WriteLease(leases string, l lease.Lease) error {
	subnets := filepath.Join(leases, "subnets")
	if err := os.MkdirAll(subnets, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(l.Attrs)
	if err != nil {
		return fmt.Errorf("lease of %v: %w", l.Subnet, err)
	}
	return os.WriteFile(filepath.Join(subnets, l.Key()+".json"), text, 0o644)
}

// readVTEP returns the VXLAN endpoint of IPv4 that the node of a name and a
// public address has written into its own lease.
func readVTEP(ctx context.Context, leases, name string, addr netip.Addr) (lease.VTEP, error) {
	store, err := file.New(file.Options{Dir: leases, NodeName: name})
	if err != nil {
		return lease.VTEP{}, err
	}
	l, found, err := store.Own(ctx, lease.Attrs{PublicIP: addr})
	switch {
	case err != nil:
		return lease.VTEP{}, fmt.Errorf("lease of %s: %w", name, err)
	case !found:
		return lease.VTEP{}, fmt.Errorf("node %s (%v) has no lease in %s", name, addr, leases)
	case l.Attrs.BackendType != "vxlan":
		return lease.VTEP{}, fmt.Errorf("lease of %s: BackendType is %q, not vxlan", name, l.Attrs.BackendType)
	}
	v, err := l.Attrs.VTEP(4)
	if err != nil {
		return lease.VTEP{}, fmt.Errorf("lease of %s: %w", name, err)
	}
	return v, nil
}
