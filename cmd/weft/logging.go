package main

import (
	"io"
	"log/slog"
	"net/url"
	"strings"
)

// newLogger writes to w in the format and at the level that o asks for.
func newLogger(w io.Writer, o *options) *slog.Logger {
	h := &slog.HandlerOptions{Level: slog.LevelInfo}
	if o.verbosity >= 1 {
		h.Level = slog.LevelDebug
	}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

// logOptions logs all options once, as one line, without secrets.
func logOptions(log *slog.Logger, o *options) {
	var attrs []any
	for _, g := range flagTable(o) {
		for _, r := range g.rows {
			if r.kind&noLog == 0 {
				attrs = append(attrs, slog.String(r.name, shown(r)))
			}
		}
	}
	log.Info("options", attrs...)
	for _, w := range o.warnings {
		log.Warn(w)
	}
}

// shown is the value of a flag as it may be seen by anyone.
func shown(r flagRow) string {
	s := r.target.String()
	if r.kind&secret != 0 && s != "" {
		return "[hidden]"
	}
	if !strings.Contains(s, "@") {
		return s
	}
	urls := strings.Split(s, ",")
	for i := range urls {
		urls[i] = withoutPassword(urls[i])
	}
	return strings.Join(urls, ",")
}

// withoutPassword hides the password of a URL such as http://user:pw@host.
// What is no URL but looks as if it held one is hidden whole.
func withoutPassword(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "[hidden]"
	}
	return u.Redacted()
}
