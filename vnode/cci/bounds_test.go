package cci_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// liar answers each request as a test wants it.
type liar func(*http.Request) (status int, body io.Reader)

func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := l(r)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(body), Request: r,
	}, nil
}

func lied(t testing.TB, answer liar) *cci.Client {
	t.Helper()
	cloud := cloudtest.Cloud{URL: "https://cloud"}
	config := cloud.Config()
	config.Transport, config.Tries = answer, 1
	config.QPS, config.Burst = 1e9, 1e9
	return cloudtest.NewClient(t, config)
}

// always answers every request with a body that is made for it.
func always(body func() io.Reader) liar {
	return func(*http.Request) (int, io.Reader) { return http.StatusOK, body() }
}

// endless repeats a text forever.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		copied := copy(p[n:], e.text[e.at:])
		n, e.at = n+copied, (e.at+copied)%len(e.text)
	}
	return n, nil
}

func repeat(text string) io.Reader { return &endless{text: text} }

func after(begin string, rest io.Reader) func() io.Reader {
	return func() io.Reader { return io.MultiReader(strings.NewReader(begin), rest) }
}

func TestAnswersWithoutEndAreErrors(t *testing.T) {
	ctx := t.Context()
	ns := cloudtest.Namespace
	list := func(c *cci.Client) error {
		_, err := c.ListPods(ctx, ns, cci.ListOptions{Keep: func(*cci.Pod) bool { return false }})
		return err
	}
	tokens := 0
	for name, tc := range map[string]struct {
		answer liar
		call   func(*cci.Client) error
		err    string
	}{
		"an object": {
			always(after(`{"metadata":{"name":"`, repeat("x"))),
			func(c *cci.Client) error { _, err := c.GetPod(ctx, ns, "p"); return err }, "an object has more than 4 MiB",
		},
		"an object of a list": {
			always(after(`{"items":[{"metadata":{"name":"`, repeat("x"))), list, "an object has more than 4 MiB",
		},
		"a list":                 {always(after(`{"items":[{}`, repeat(",{}"))), list, "a page has more than 100000 objects"},
		"the metadata of a list": {always(after(`{"metadata":`, repeat("["))), list, "reading the answer of the cloud"},
		"a field of a list":      {always(after(`{"x":"`, repeat("x"))), list, "an object has more than 4 MiB"},
		"nothing but spaces":     {always(after(``, repeat(" "))), list, "an object has more than 4 MiB"},
		"an event of a watch": {
			always(after(`{"type":"ADDED","object":{"metadata":{"name":"`, repeat("x"))),
			func(c *cci.Client) error {
				stream, err := c.WatchPods(ctx, ns, cci.WatchOptions{Timeout: time.Minute})
				require.NoError(t, err)
				defer stream.Close()
				_, err = stream.Next()
				return err
			}, "an object has more than 4 MiB",
		},
		"an error": {
			func(*http.Request) (int, io.Reader) { return 500, repeat("x") },
			func(c *cci.Client) error { _, err := c.GetPod(ctx, ns, "p"); return err }, "the cloud answered 500: xxx",
		},
		"an error with a long message": {
			func(*http.Request) (int, io.Reader) {
				return 400, strings.NewReader(`{"code":400,"message":"` + strings.Repeat("x", 60<<10) + `"}`)
			},
			func(c *cci.Client) error { _, err := c.GetPod(ctx, ns, "p"); return err }, "the cloud answered 400: xxx",
		},
		"a list that continues with the same token": {
			always(after(`{"metadata":{"continue":"more"},"items":[]}`, strings.NewReader(""))),
			func(c *cci.Client) error { _, err := c.ListVolumes(ctx, cci.ListOptions{}); return err },
			"the same continue token for two pages",
		},
		"a list that continues forever": {
			func(*http.Request) (int, io.Reader) {
				tokens++
				return 200, strings.NewReader(fmt.Sprintf(`{"metadata":{"continue":"%d"},"items":[]}`, tokens))
			},
			func(c *cci.Client) error { _, err := c.ListClaims(ctx, ns, cci.ListOptions{}); return err },
			"a list has more than 2000 pages",
		},
		"a list with a long token": {
			always(after(`{"metadata":{"continue":"`+strings.Repeat("x", 10<<10)+`"},"items":[]}`, strings.NewReader(""))),
			func(c *cci.Client) error { _, err := c.ListVolumes(ctx, cci.ListOptions{}); return err },
			"a continue token has more than 8 KiB",
		},
		"a namespace with endless pages": {
			func(*http.Request) (int, io.Reader) {
				tokens++
				return 200, strings.NewReader(fmt.Sprintf(`{"metadata":{"continue":"%d"},"items":[%s{}]}`, tokens,
					strings.Repeat("{},", 999)))
			},
			func(c *cci.Client) error { _, err := c.NamespaceContents(ctx, ns); return err },
			"a list has more than 100000 objects",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := lied(t, tc.answer)
			before := heap()
			err := tc.call(client)
			require.ErrorContains(t, err, tc.err)
			assert.Less(t, len(err.Error()), 2000)
			assert.Less(t, heap(), before+(64<<20), "what is kept")
		})
	}
}

// A header is read before any of it can be checked.
func TestHeadersWithoutEndAreErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
				_, _ = io.Copy(conn, repeat("A: "+strings.Repeat("x", 1000)+"\r\n"))
			}()
		}
	}()
	config := (&cloudtest.Cloud{URL: "http://" + listener.Addr().String()}).Config()
	config.Tries, config.Credentials = 1, cci.Credentials{AccessKey: "AK", SecretKey: "SK", AuthToken: "token"}
	client := cloudtest.NewClient(t, config)
	before := heap()
	_, err = client.GetPod(t.Context(), cloudtest.Namespace, "p")
	require.ErrorContains(t, err, "server response headers exceeded")
	err = client.PodExec(t.Context(), cloudtest.Namespace, "p", cci.ExecOptions{}, cci.ExecStreams{})
	require.ErrorContains(t, err, "the handshake has more than 512 KiB")
	assert.Less(t, heap(), before+(8<<20))
}

// heap returns the size of the live objects.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A page of the largest Pods that tenants can create is larger than what may be in memory.
func TestALargePageIsReadObjectByObject(t *testing.T) {
	pod := cci.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "p", Annotations: map[string]string{"large": strings.Repeat("x", 250<<10)},
	}}
	text, err := json.Marshal(pod)
	require.NoError(t, err)
	const count = 100
	items := make([]io.Reader, 0, 2*count+2)
	items = append(items, strings.NewReader(`{"items":[{}`))
	for range count {
		items = append(items, strings.NewReader(","), bytes.NewReader(text))
	}
	items = append(items, strings.NewReader(`],"metadata":{"resourceVersion":"7"}}`))
	most, read := uint64(0), 0
	client := lied(t, always(func() io.Reader { return io.MultiReader(items...) }))
	before := heap()
	page, err := client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{Keep: func(*cci.Pod) bool {
		if read++; read%(count/4) == 0 {
			most = max(most, heap()-before)
		}
		return false
	}})
	require.NoError(t, err)
	assert.Equal(t, count+1, page.Objects)
	assert.Equal(t, "7", page.ResourceVersion)
	assert.Less(t, most, uint64(4<<20), "of a page of 25 MB")
	t.Logf("a page of %d MB: %.1f MB in memory", count*len(text)/1e6, float64(most)/1e6)
}

func TestTenThousandPodsAreAList(t *testing.T) {
	var body bytes.Buffer
	body.WriteString(`{"metadata":{"resourceVersion":"7"},"items":[{}`)
	for i := range 10_000 {
		fmt.Fprintf(&body, `,{"metadata":{"name":"p%d"},"status":{"phase":"Running","podIP":"10.0.0.1"}}`, i)
	}
	body.WriteString("]}")
	client := lied(t, always(func() io.Reader { return bytes.NewReader(body.Bytes()) }))
	page, err := client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, page.Items, 10_001)
	assert.Equal(t, "10.0.0.1", page.Items[10_000].Status.PodIP)
}

func TestARequestThatNoCloudTakesIsNotSent(t *testing.T) {
	client := lied(t, func(*http.Request) (int, io.Reader) {
		t.Error("a request was sent")
		return 500, strings.NewReader("")
	})
	pod := &cci.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": strings.Repeat("x", 4<<20)}}}
	_, err := client.CreatePod(t.Context(), cloudtest.Namespace, pod)
	require.ErrorContains(t, err, "the object has 4096 KiB, and the cloud takes 3072 KiB")
	assert.True(t, cci.IsPermanent(err))
}

// A quantity of ten bytes takes a third of a second to parse, and an element of three bytes half a kilobyte.
func TestObjectsThatCostTooMuchAreLeftOut(t *testing.T) {
	quantity := `{"metadata":{"name":"q"},"status":{"containerStatuses":[{"name":"c","allocatedResources":{` +
		strings.TrimSuffix(strings.Repeat(`"cpu":"1e-4000000",`, 1000), ",") + `}}]}}`
	elements := `{"metadata":{"name":"e"},"spec":{"containers":[{}` + strings.Repeat(",{}", 100_000) + `]}}`
	good := `{"metadata":{"name":"good","labels":{"x":"1e-4000000"}}}`
	var object string
	client := lied(t, func(r *http.Request) (int, io.Reader) {
		switch {
		case r.URL.Query().Get("watch") != "":
			return 200, strings.NewReader(strings.Repeat(`{"type":"ADDED","object":`+object+`}`, 3) +
				`{"type":"ADDED","object":` + good + `}`)
		case strings.HasSuffix(r.URL.Path, "/pods"):
			return 200, strings.NewReader(`{"items":[` + object + `,` + good + `,` + object + `]}`)
		}
		return 200, strings.NewReader(object)
	})
	ctx, ns := t.Context(), cloudtest.Namespace
	for _, object = range []string{quantity, elements} {
		costtest.AtMost(t, 32<<20, func() {
			_, err := client.GetPod(ctx, ns, "p")
			require.ErrorContains(t, err, "decoding the answer of the cloud")
			assert.True(t, cci.IsTransient(err), "it is no proof that the Pod is gone")
			page, err := client.ListPods(ctx, ns, cci.ListOptions{})
			require.NoError(t, err)
			require.Len(t, page.Items, 1)
			assert.Equal(t, "good", page.Items[0].Name)
			assert.Equal(t, 3, page.Objects)
			stream, err := client.WatchPods(ctx, ns, cci.WatchOptions{Timeout: time.Minute})
			require.NoError(t, err)
			defer stream.Close()
			event, err := stream.Next()
			require.NoError(t, err)
			assert.Equal(t, "good", event.Pod.Name)
		})
	}
}

// A tenant must not create a cloud Pod that vnode cannot read.
func TestWhatIsSentCanBeRead(t *testing.T) {
	sent := 0
	client := lied(t, func(*http.Request) (int, io.Reader) {
		sent++
		return 200, strings.NewReader("{}")
	})
	pod := &cci.Pod{Spec: cci.PodSpec{Containers: []cci.Container{{Args: make([]string, 19_000)}}}}
	_, err := client.CreatePod(t.Context(), cloudtest.Namespace, pod)
	require.NoError(t, err)
	pod.Spec.Containers[0].Args = make([]string, 300_000)
	_, err = client.CreatePod(t.Context(), cloudtest.Namespace, pod)
	require.ErrorContains(t, err, "the object has more than 20000 elements in all its lists")
	assert.True(t, cci.IsPermanent(err))
	assert.Equal(t, 1, sent)
}

func TestAddresses(t *testing.T) {
	subnets := cci.Addresses{
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/64")},
		Node:   netip.MustParseAddr("10.1.0.9"),
	}
	hosts := cci.Addresses{Node: netip.MustParseAddr("192.168.0.9")}
	loopback := cci.Addresses{Ranges: []netip.Prefix{netip.MustParsePrefix("127.77.0.0/16")}}
	for name, tc := range map[string]struct {
		addresses  cci.Addresses
		text, want string
		err        string
	}{
		"in a subnet":               {subnets, "10.1.2.3", "10.1.2.3", ""},
		"in a subnet of IPv6":       {subnets, "fd00:0::1", "fd00::1", ""},
		"mapped":                    {subnets, "::ffff:10.1.2.3", "10.1.2.3", ""},
		"in no subnet":              {subnets, "10.2.0.1", "", "it is in none of the ranges [10.1.0.0/16 fd00::/64]"},
		"the node":                  {subnets, "10.1.0.9", "", "it is the address of the virtual node"},
		"the node, mapped":          {subnets, "::ffff:10.1.0.9", "", "it is the address of the virtual node"},
		"any host":                  {hosts, "10.2.0.1", "10.2.0.1", ""},
		"the node without ranges":   {hosts, "192.168.0.9", "", "it is the address of the virtual node"},
		"metadata of a machine":     {hosts, "169.254.169.254", "", "link-local"},
		"metadata, mapped":          {hosts, "::ffff:169.254.169.254", "", "link-local"},
		"loopback":                  {hosts, "127.0.0.1", "", "loopback"},
		"loopback of IPv6":          {hosts, "::1", "", "loopback"},
		"unspecified":               {hosts, "0.0.0.0", "", "unspecified"},
		"multicast":                 {hosts, "224.0.0.1", "", "multicast"},
		"broadcast":                 {hosts, "255.255.255.255", "", "loopback, link-local"},
		"loopback that is a subnet": {loopback, "127.77.0.1", "127.77.0.1", ""},
		"a name":                    {hosts, "example.com", "", "it is not an IP address"},
		"a zone":                    {hosts, "fe80::1%eth0", "", "it is not an IP address"},
		"leading zeros":             {hosts, "010.1.2.3", "", "it is not an IP address"},
		"a port":                    {hosts, "10.1.2.3:80", "", "it is not an IP address"},
	} {
		t.Run(name, func(t *testing.T) {
			address, err := tc.addresses.Parse(tc.text)
			if tc.err != "" {
				assert.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, address.String())
		})
	}
}

func TestAddressesOutsideAreRemovedFromEveryAnswer(t *testing.T) {
	status := `"status":{"podIP":"169.254.169.254",` +
		`"podIPs":[{"ip":"169.254.169.254"},{"ip":"10.1.0.1"},{"ip":"10.1.0.2"}]}`
	client := lied(t, func(r *http.Request) (int, io.Reader) {
		pod := `{"metadata":{"name":"p"},` + status + `}`
		switch {
		case r.URL.Query().Get("watch") != "":
			return 200, strings.NewReader(`{"type":"ADDED","object":` + pod + `}`)
		case strings.HasSuffix(r.URL.Path, "/pods") && r.Method == http.MethodGet:
			return 200, strings.NewReader(`{"items":[` + pod + `]}`)
		}
		return 200, strings.NewReader(pod)
	})
	ctx, ns := t.Context(), cloudtest.Namespace
	got, err := client.GetPod(ctx, ns, "p")
	require.NoError(t, err)
	created, err := client.CreatePod(ctx, ns, &cci.Pod{})
	require.NoError(t, err)
	list, err := client.ListPods(ctx, ns, cci.ListOptions{})
	require.NoError(t, err)
	watch, err := client.WatchPods(ctx, ns, cci.WatchOptions{Timeout: time.Minute})
	require.NoError(t, err)
	defer watch.Close()
	event, err := watch.Next()
	require.NoError(t, err)
	for _, pod := range []*cci.Pod{got, created, &list.Items[0], event.Pod} {
		assert.Equal(t, "10.1.0.1", pod.Status.PodIP)
		assert.Equal(t, []corev1.PodIP{{IP: "10.1.0.1"}}, pod.Status.PodIPs, "one of each family")
		assert.Equal(t, "169.254.169.254: it is a loopback, link-local, multicast or unspecified address",
			pod.RefusedAddress)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"metadata":{"name":"p"},"status":{"podIP":"10.0.0.1","containerStatuses":[{"name":"c"}]}}`)
	f.Add(200, `{"type":"ADDED","object":{"metadata":{"name":"p"}}}{"type":"ERROR","object":{"code":410}}`)
	f.Add(200, `{"metadata":{"continue":"x"},"items":[{"metadata":{"name":"p"}},{}],"kind":"PodList"}`)
	f.Add(200, `{"items":null,"metadata":{"resourceVersion":"1"}}`)
	f.Add(404, `{"kind":"Status","reason":"NotFound","code":404,"message":"no"}`)
	f.Add(502, `<html><head><style>x</style></head><body>Bad <b>Gateway</b></body></html>`)
	f.Add(200, strings.Repeat("[", 20_000))
	f.Add(200, `{"items":[`+strings.Repeat(`{"data":{"a":"`+strings.Repeat("QUJD", 100)+`"}},`, 50)+`{}]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		client := lied(t, func(*http.Request) (int, io.Reader) {
			return 200 + (status%400+400)%400, strings.NewReader(body)
		})
		ctx, ns := t.Context(), cloudtest.Namespace
		var errs []error
		var pods []cci.Pod
		costtest.AtMost(t, uint64(len(body))*1000+(16<<20), func() {
			if pod, err := client.GetPod(ctx, ns, "p"); err == nil {
				pods = append(pods, *pod)
			} else {
				errs = append(errs, err)
			}
			if page, err := client.ListPods(ctx, ns, cci.ListOptions{}); err == nil {
				pods = append(pods, page.Items...)
			} else {
				errs = append(errs, err)
			}
			_, err := client.ListData(ctx, ns, cci.Secret, cci.ListOptions{})
			errs = append(errs, err)
			_, err = client.PodEvents(ctx, ns, "p", "")
			errs = append(errs, err)
			_, err = client.ListNetworks(ctx, ns)
			errs = append(errs, err)
			_, err = client.NamespaceContents(ctx, ns)
			errs = append(errs, err)
			stream, err := client.WatchPods(ctx, ns, cci.WatchOptions{Timeout: time.Minute})
			for err == nil {
				var event cci.PodEvent
				if event, err = stream.Next(); err == nil {
					pods = append(pods, *event.Pod)
				}
			}
			errs = append(errs, err)
		})
		for _, err := range errs {
			if err != nil {
				assert.LessOrEqual(t, len(err.Error()), 2*policy.MaxMessage)
			}
		}
		for i := range pods {
			if ip := pods[i].Status.PodIP; ip != "" {
				_, err := (cci.Addresses{}).Parse(ip)
				assert.NoError(t, err)
			}
			assert.LessOrEqual(t, len(pods[i].Status.Message), policy.MaxMessage)
		}
	})
}
