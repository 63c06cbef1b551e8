package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// A VTEP is the BackendData (or BackendV6Data) of a vxlan lease: the VXLAN
// tunnel endpoint that frames for the lease's subnet must be addressed to, as
// flannel writes it (pkg/backend/vxlan/vxlan.go, vxlanLeaseAttrs):
//
//	{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}
type VTEP struct {
	VNI uint32  // 0: not told, as before flannel 0.11, or 0 itself
	MAC [6]byte // unicast
}

// MaxVNI is the largest VXLAN network identifier; it has 24 bits (RFC 7348).
const MaxVNI = 1<<24 - 1

// wireVTEP is a VTEP in the order in which flannel writes it.
type wireVTEP struct {
	VNI     uint32
	VtepMAC string
}

// MarshalJSON writes v as flannel does, byte for byte.
func (v VTEP) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireVTEP{v.VNI, net.HardwareAddr(v.MAC[:]).String()})
}

// UnmarshalJSON reads v. Unknown fields are ignored. An address that is
// missing, not 6 bytes long, zero or a group address is an error, as is a VNI
// of more than 24 bits.
func (v *VTEP) UnmarshalJSON(b []byte) error {
	var w wireVTEP
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	mac, err := net.ParseMAC(w.VtepMAC)
	switch {
	case err != nil || len(mac) != 6:
		return fmt.Errorf("VtepMAC: %q is not an Ethernet address", w.VtepMAC)
	case mac[0]&1 != 0:
		return fmt.Errorf("VtepMAC: %s is a group address", mac)
	case [6]byte(mac) == [6]byte{}:
		return fmt.Errorf("VtepMAC: %s is no address", mac)
	case w.VNI > MaxVNI:
		return fmt.Errorf("VNI: %d is not in 0..%d", w.VNI, MaxVNI)
	}
	*v = VTEP{w.VNI, [6]byte(mac)}
	return nil
}

// VTEP returns the tunnel endpoint of a family's inner packets: version 4 or
// 6. The error names the field.
func (a Attrs) VTEP(version uint8) (VTEP, error) {
	return backendData[VTEP](a, version)
}

// backendData reads what a says of the inner packets of a family: version 4 or 6.
// The error names the field.
func backendData[T any](a Attrs, version uint8) (data T, err error) {
	field, raw := "BackendData", a.BackendData
	if version == 6 {
		field, raw = "BackendV6Data", a.BackendV6Data
	}
	if len(raw) == 0 {
		return data, errors.New(field + ": missing")
	}
	var read T
	if err := json.Unmarshal(raw, &read); err != nil {
		return data, fmt.Errorf("%s: %w", field, err)
	}
	return read, nil
}
