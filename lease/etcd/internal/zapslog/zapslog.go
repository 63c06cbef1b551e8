// Package zapslog carries etcd's log lines into a slog.Logger. Etcd speaks to
// its developers: what it calls a warning is routine for whoever runs a node.
// So every line goes out at debug level, with etcd's own level as a field.
package zapslog

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a zap logger that writes to log at debug level.
func New(log *slog.Logger) *zap.Logger {
	return zap.New(core{log: log})
}

type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func (c core) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	c.fields = append(c.fields[:len(c.fields):len(c.fields)], fields...)
	return c
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	attrs := []any{"etcd_level", e.Level.String()}
	for k, v := range enc.Fields {
		attrs = append(attrs, k, v)
	}
	c.log.Debug("etcd: "+e.Message, attrs...)
	return nil
}

func (core) Sync() error { return nil }
