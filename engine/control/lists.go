package control

import (
	"bytes"
	"encoding/json"
)

// MarshalJSON writes s with a list, though it may be empty, wherever a list is
// promised: a program that goes through them meets no null.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status // without this method
	s.Node.Devices = list(s.Node.Devices)
	s.Engine.Features, s.Engine.Off, s.Engine.Ports = list(s.Engine.Features), list(s.Engine.Off), list(s.Engine.Ports)
	s.Drops, s.Peers = list(s.Drops), list(s.Peers)
	return readable(plain(s))
}

// MarshalJSON is as that of [Status].
func (e Explanation) MarshalJSON() ([]byte, error) {
	type plain Explanation
	e.Steps, e.Return = list(e.Steps), list(e.Return)
	return readable(plain(e))
}

// MarshalJSON is as that of [Status].
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	r.Checks = list(r.Checks)
	return readable(plain(r))
}

// list is l, or an empty list instead of none.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// readable is v as JSON whose "<" and ">" are left as they are. An encoder that
// wants them escaped does so itself.
func readable(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
