package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vklog "github.com/virtual-kubelet/virtual-kubelet/log"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// lines is a writer that several loggers share.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// take returns what has been written, a map for each line of JSON, and forgets it.
func (l *lines) take(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range bytes.Lines(l.all.Bytes()) {
		var one map[string]any
		require.NoError(t, json.Unmarshal(line, &one), "%s", line)
		delete(one, "time")
		found = append(found, one)
	}
	l.all.Reset()
	return found
}

func TestEveryLibraryLogsThroughTheOneLogger(t *testing.T) {
	var written lines
	logger, err := SetUp(Config{Level: "info", Format: "json"}, &written)
	require.NoError(t, err)
	boom := errors.New("boom")
	ctx := context.Background()

	cases := map[string]struct {
		log  func()
		want map[string]any
	}{
		"the logger itself": {
			func() { logger.Info("started", "pods", 3) },
			map[string]any{"level": "INFO", "msg": "started", "pods": 3.0},
		},
		"slog's default": {
			func() { slog.Error("ended", "err", boom) },
			map[string]any{"level": "ERROR", "msg": "ended", "err": "boom"},
		},
		"a Pod": {
			func() { logger.Info("m", Pod("shop", "web", "1")) },
			map[string]any{"level": "INFO", "msg": "m", "namespace": "shop", "pod": "web", "uid": "1"},
		},
		"an object of klog without a namespace": {
			func() { klog.InfoS("m", "node", klog.KRef("", "a")) },
			map[string]any{"level": "INFO", "msg": "m", "node": "a"},
		},
		"a duration": {
			func() { logger.Info("m", "retryAfter", 1500*time.Millisecond) },
			map[string]any{"level": "INFO", "msg": "m", "retryAfter": "1.5s"},
		},
		"klog": {
			func() { klog.InfoS("listed", "kind", "Pod") },
			map[string]any{"level": "INFO", "msg": "listed", "kind": "Pod"},
		},
		"klog's errors": {
			func() { klog.ErrorS(boom, "not listed") },
			map[string]any{"level": "ERROR", "msg": "not listed", "err": "boom"},
		},
		"controller-runtime": {
			func() { ctrllog.Log.Info("reconciled", "name", "a") },
			map[string]any{"level": "INFO", "msg": "reconciled", "name": "a"},
		},
		"virtual-kubelet": {
			func() { vklog.G(ctx).WithField("pod", "a").Info("created") },
			map[string]any{"level": "INFO", "msg": "created", "pod": "a"},
		},
		"with several fields": {
			func() { vklog.G(ctx).WithFields(vklog.Fields{"a": 1, "b": 2}).Warn("late") },
			map[string]any{"level": "WARN", "msg": "late", "a": 1.0, "b": 2.0},
		},
		"with an error": {
			func() { vklog.G(ctx).WithError(boom).Errorf("try %d", 2) },
			map[string]any{"level": "ERROR", "msg": "try 2", "err": "boom"},
		},
		"an error with a stack": {
			func() { vklog.G(ctx).WithError(stacked{boom}).Warn("late") },
			map[string]any{"level": "WARN", "msg": "late", "err": "boom"},
		},
		"no error": {
			func() { vklog.G(ctx).WithError(nil).Warn("late") },
			map[string]any{"level": "WARN", "msg": "late", "err": "<nil>"},
		},
		"an error for a message": {func() { vklog.G(ctx).Error(boom) }, map[string]any{"level": "ERROR", "msg": "boom"}},
		"several arguments": {
			func() { vklog.G(ctx).Warn("code ", 7, boom) },
			map[string]any{"level": "WARN", "msg": "code 7 boom"},
		},
		"no argument": {func() { vklog.G(ctx).Info() }, map[string]any{"level": "INFO", "msg": ""}},
		"a formatted line": {
			func() { vklog.G(ctx).Infof("%s has %d", "a", 1) },
			map[string]any{"level": "INFO", "msg": "a has 1"},
		},
		"a formatted warning": {
			func() { vklog.G(ctx).Warnf("%d%%", 90) },
			map[string]any{"level": "WARN", "msg": "90%"},
		},
		"a fatal line, which goes on": {func() { vklog.G(ctx).Fatal(boom) }, map[string]any{"level": "ERROR", "msg": "boom"}},
		"and a formatted one": {
			func() { vklog.G(ctx).Fatalf("%v", boom) },
			map[string]any{"level": "ERROR", "msg": "boom"},
		},
	}
	// The keys of a Pod are the same in each library.
	web := map[string]any{"level": "INFO", "msg": "m", "namespace": "shop", "pod": "web"}
	names := vklog.Fields{"namespace": "shop", "name": "web"}
	for name, log := range map[string]func(){
		"a Pod without a UID":        func() { logger.Info("m", Pod("shop", "web", "")) },
		"an object":                  func() { logger.Info("m", Object("pod", "shop", "web")) },
		"an object of klog":          func() { klog.InfoS("m", "pod", klog.KRef("shop", "web")) },
		"and in its logger":          func() { klog.Background().WithValues("pod", klog.KRef("shop", "web")).Info("m") },
		"names of virtual-kubelet":   func() { vklog.G(ctx).WithFields(names).Info("m") },
		"the key of virtual-kubelet": func() { vklog.G(ctx).WithField("key", "shop/web/uid").Info("m") },
		"names beside that key":      func() { vklog.G(ctx).WithField("key", "shop/web").WithFields(names).Info("m") },
	} {
		cases[name] = struct {
			log  func()
			want map[string]any
		}{log, web}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			written.take(t)
			tc.log()
			klog.Flush()
			assert.Equal(t, []map[string]any{tc.want}, written.take(t))
		})
	}
	logger.Debug("quiet")
	vklog.G(ctx).Debug("quiet")
	vklog.G(ctx).Debugf("quiet %d", 1)
	vklog.G(ctx).Info("Created pod in provider")
	vklog.G(ctx).WithField("pod", "a").Error("Force deleting pod in running state")
	utilruntime.HandleError(errors.New("error executing command in container: there is none"))
	utilruntime.HandleError(errors.New("error forwarding port 80 to pod web, uid : connection refused"))
	ended := fmt.Errorf("updating a status: %w", context.Canceled)
	vklog.G(ctx).WithError(ended).WithField("pod", "a").Error("Error processing pod status update")
	klog.ErrorS(ended, "Error retrieving lease lock")
	klog.ErrorS(&net.OpError{Op: "read", Err: net.ErrClosed}, "Error on socket receive")
	klog.Flush()
	assert.Empty(t, written.take(t), "debug is below info")
	utilruntime.HandleError(boom)
	klog.Flush()
	assert.Equal(t, "boom", written.take(t)[0]["err"], "other errors stay")

	_, err = SetUp(Config{Level: "debug", Format: "json"}, &written)
	require.NoError(t, err)
	vklog.G(ctx).Debug("loud ", 1)
	vklog.G(ctx).Debugf("loud %d", 2)
	assert.Len(t, written.take(t), 2)
}

// stacked is an error as github.com/pkg/errors makes them: with %+v it prints where it was made.
type stacked struct{ error }

func (s stacked) Format(to fmt.State, verb rune) {
	_, _ = io.WriteString(to, s.Error())
	if verb == 'v' && to.Flag('+') {
		_, _ = io.WriteString(to, "\nmain.main\n\tmain.go:1")
	}
}

func TestTextFormat(t *testing.T) {
	var written lines
	logger, err := SetUp(Config{Level: "warn", Format: "text"}, &written)
	require.NoError(t, err)
	logger.Warn("late", "pod", "a b")
	assert.Contains(t, written.all.String(), `level=WARN msg=late pod="a b"`)
	vklog.G(t.Context()).WithError(stacked{errors.New("boom")}).Warn("later")
	assert.Contains(t, written.all.String(), "msg=later err=boom\n", "no stack")
}

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		config  Config
		wantErr string
	}{
		"the default":   {Default(), ""},
		"debug as json": {Config{Level: "debug", Format: "json"}, ""},
		"an unknown level": {
			Config{Level: "loud", Format: "text"},
			`logging.level: Invalid value: "loud": must be debug, info, warn or error`,
		},
		"no level": {Config{Format: "text"}, `logging.level: Invalid value: ""`},
		"an unknown format": {
			Config{Level: "info", Format: "yaml"},
			`logging.format: Invalid value: "yaml": must be text or json`,
		},
		"every error is there": {Config{Level: "loud", Format: "yaml"}, `logging.format: Invalid value: "yaml"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			errs := tc.config.Validate(field.NewPath("logging"))
			if tc.wantErr == "" {
				require.Empty(t, errs)
				return
			}
			require.ErrorContains(t, errs.ToAggregate(), tc.wantErr)
			_, err := SetUp(tc.config, &lines{})
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}
