package credentials

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// metadata is what stands in for the machine's metadata service: as a proxy, since the service's address is fixed.
var metadata = httptest.NewUnstartedServer(nil)

func TestMain(m *testing.M) {
	metadata.Start()
	// Before anybody asks for it: net/http reads it once.
	if err := os.Setenv("HTTP_PROXY", metadata.URL); err != nil {
		panic(err)
	}
	code := m.Run()
	metadata.Close()
	os.Exit(code)
}

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestRead(t *testing.T) {
	dir := func(files map[string]string) string {
		d := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(d, name), text)
		}
		return d
	}
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "accessKey: a\nsecretKey: s\n")
	cases := map[string]struct {
		path    string
		want    cci.Credentials
		wantErr string
	}{
		"a file":                        {file, cci.Credentials{AccessKey: "a", SecretKey: "s"}, ""},
		"a mounted Secret":              {dir(map[string]string{"accessKey": "a\n", "secretKey": "s"}), cci.Credentials{AccessKey: "a", SecretKey: "s"}, ""},
		"a mounted Secret with a token": {dir(map[string]string{"accessKey": "a", "secretKey": "s", "securityToken": "t\n"}), cci.Credentials{AccessKey: "a", SecretKey: "s", SecurityToken: "t"}, ""},
		"a Secret that lacks a key":     {dir(map[string]string{"accessKey": "a"}), cci.Credentials{}, "secretKey: must not be empty"},
		"a Secret with an empty key":    {dir(map[string]string{"accessKey": "a", "secretKey": " \n"}), cci.Credentials{}, "secretKey: must not be empty"},
		"nothing":                       {filepath.Join(t.TempDir(), "nowhere"), cci.Credentials{}, "nowhere"},
		"a directory in place of the key": {func() string {
			d := dir(nil)
			require.NoError(t, os.Mkdir(filepath.Join(d, "accessKey"), 0o700))
			return d
		}(), cci.Credentials{}, "is a directory"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Read(tc.path)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.Zero(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

// The kubelet writes a new directory, and swaps the link ..data, to which the files' own links point.
func TestASecretIsReadInOneVersion(t *testing.T) {
	mount := t.TempDir()
	put := func(version, key string) {
		dir := filepath.Join(mount, version)
		require.NoError(t, os.Mkdir(dir, 0o700))
		write(t, filepath.Join(dir, "accessKey"), "a-"+key)
		write(t, filepath.Join(dir, "secretKey"), "s-"+key)
		require.NoError(t, os.Symlink(version, filepath.Join(mount, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	put("..1", "one")
	for _, name := range []string{"accessKey", "secretKey"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
	}
	version := snapshot(mount)
	put("..2", "two")
	got, err := readDir(version)
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "a-one", SecretKey: "s-one"}, got, "what was begun ends in the same version")
	got, err = Read(mount)
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "a-two", SecretKey: "s-two"}, got)
}

func TestAFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "accessKey: one\nsecretKey: very-secret\n")
	var log strings.Builder
	source, err := FromFile(file, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	watch := clock{now: source.looked}
	source.now = watch.Now
	after := func() cci.Credentials {
		watch.pass(look)
		return source.Current()
	}
	assert.Equal(t, "one", source.Current().AccessKey)

	write(t, file, "accessKey: two\nsecretKey: very-secret\n")
	assert.Equal(t, "one", source.Current().AccessKey, "it is not read for every request")
	assert.Equal(t, "two", after().AccessKey)

	for _, broken := range []string{"", "accessKey: thr", "accessKey: three\nsecretKey", "very-secret: ["} {
		write(t, file, broken)
		assert.Equal(t, "two", after().AccessKey, "%q is half written", broken)
		before := log.Len()
		after()
		assert.Equal(t, before, log.Len(), "it is told of once")
	}
	require.NoError(t, os.Remove(file))
	assert.Equal(t, "two", after().AccessKey, "a file that is gone takes no key away")
	write(t, file, "accessKey: three\nsecretKey: very-secret\n")
	assert.Equal(t, "three", after().AccessKey)
	assert.NotContains(t, log.String(), "secret\n")
	assert.NotContains(t, log.String(), "very-secret")
	assert.Contains(t, log.String(), "credentials of three")

	_, err = FromFile(filepath.Join(t.TempDir(), "nowhere"), slog.New(slog.DiscardHandler))
	assert.ErrorIs(t, err, os.ErrNotExist, "without a first key nothing starts")
}

func TestWhileOneReadsTheOthersSign(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	first := true
	source, err := newSource(func() (cci.Credentials, error) {
		if first {
			first = false
			return cci.Credentials{AccessKey: "old", SecretKey: "s"}, nil
		}
		close(reading)
		<-release
		return cci.Credentials{AccessKey: "new", SecretKey: "s"}, nil
	}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	source.looked = source.looked.Add(-look)
	got := make(chan cci.Credentials)
	go func() { got <- source.Current() }()
	<-reading
	assert.Equal(t, "old", source.Current().AccessKey)
	close(release)
	assert.Equal(t, "new", (<-got).AccessKey)
	assert.Equal(t, "new", source.Current().AccessKey)
}

func TestAProviderThatFailsKeepsTheKeys(t *testing.T) {
	var fault error
	source, err := newSource(func() (cci.Credentials, error) { return cci.Credentials{AccessKey: "a", SecretKey: "s"}, fault }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	fault = errors.New("no answer")
	source.looked = source.looked.Add(-look)
	assert.Equal(t, "a", source.Current().AccessKey)
}

// ends is a time in the form of the metadata service.
func ends(in time.Duration) string {
	return time.Now().Add(in).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func TestKeysOfTheMachine(t *testing.T) {
	var mu sync.Mutex
	key, end, asked := "one", time.Second, 0
	metadata.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/meta-data/latest/api/token":
			_, _ = w.Write([]byte("token"))
		case "/openstack/latest/securitykey":
			asked++
			_, _ = w.Write([]byte(`{"credential":{"access":"` + key + `","secret":"s","securitytoken":"t","expires_at":"` + ends(end) + `"}}`))
		default:
			http.NotFound(w, r)
		}
	})
	source, err := FromMachine(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "one", SecretKey: "s", SecurityToken: "t"}, source.Current())
	mu.Lock()
	key, end = "two", time.Hour
	mu.Unlock()
	source.looked = source.looked.Add(-look)
	assert.Equal(t, "two", source.Current().AccessKey, "keys that end soon are renewed")
	mu.Lock()
	before := asked
	mu.Unlock()
	source.looked = source.looked.Add(-look)
	source.Current()
	mu.Lock()
	assert.Equal(t, before, asked, "nobody is asked while they hold")
	mu.Unlock()
}

func TestKeysOfAPod(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "bound-token", r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"credentials":{"accessKeyId":"ak","secretAccessKey":"sk","securityToken":"st","expiration":"` + ends(time.Hour) + `"}}`))
	}))
	t.Cleanup(server.Close)
	_, err := FromPodIdentity(slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "HC_CONTAINER_CREDENTIALS_FULL_URI")
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "bound-token")
	t.Setenv("HC_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	t.Setenv("HC_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
	source, err := FromPodIdentity(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, cci.Credentials{AccessKey: "ak", SecretKey: "sk", SecurityToken: "st"}, source.Current())
}
