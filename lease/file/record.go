package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"weft/lease"
)

// A record is what one lease file says.
type record struct {
	lease.Attrs
	node     string // "": written by hand or by another program
	instance string // the process that wrote it; "": as for node
	reserved bool   // there is no Beat
	beat     uint64
	time     time.Time
}

// beatDigits is the width of Beat: at a beat a second, thirty thousand years.
const beatDigits = 12

// extra are our fields, behind flannel's.
type extra struct {
	Node     string  `json:",omitempty"`
	Instance string  `json:",omitempty"`
	Beat     *string `json:",omitempty"`
	Time     string  `json:",omitempty"`
}

// encode writes r. The length depends on Attrs, node and instance only.
func (r record) encode() ([]byte, error) {
	b, err := json.Marshal(r.Attrs)
	if err != nil {
		return nil, err
	}
	x := extra{Node: r.node, Instance: r.instance}
	if !r.reserved {
		beat := fmt.Sprintf("%0*d", beatDigits, r.beat%1e12)
		x.Beat = &beat
		x.Time = r.time.UTC().Format(time.RFC3339)
	}
	more, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	if len(more) == len("{}") {
		return append(b, '\n'), nil
	}
	b[len(b)-1] = ',' // instead of the closing brace
	return append(append(b, more[1:]...), '\n'), nil
}

// decode reads a lease file.
func decode(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r.Attrs); err != nil {
		return record{}, err
	}
	var x extra
	if err := json.Unmarshal(data, &x); err != nil {
		return record{}, err
	}
	r.node, r.instance, r.reserved = x.Node, x.Instance, x.Beat == nil
	if x.Beat != nil {
		n, err := strconv.ParseUint(*x.Beat, 10, 64)
		if err != nil || len(*x.Beat) != beatDigits {
			return record{}, fmt.Errorf("heartbeat %.20q is not %d digits", *x.Beat, beatDigits)
		}
		r.beat = n
	}
	if x.Time != "" {
		t, err := time.Parse(time.RFC3339, x.Time)
		if err != nil {
			return record{}, fmt.Errorf("time of the heartbeat: %w", err)
		}
		r.time = t
	}
	return r, nil
}

// next is the record with the following heartbeat.
func (r record) next() record {
	if !r.reserved {
		r.beat++
		r.time = time.Now()
	}
	return r
}

// still reports whether q, read later, shows no sign of life beyond r.
func (r record) still(q record) bool {
	return r.node == q.node && r.instance == q.instance && r.beat == q.beat
}

// sameShape reports whether a and b differ at most in digits of the heartbeat,
// so that one can be written over the other in place.
func sameShape(a, b []byte) bool {
	i := bytes.LastIndex(a, []byte(`,"Beat":"`))
	return i >= 0 && len(a) == len(b) && bytes.Equal(a[:i], b[:i])
}
