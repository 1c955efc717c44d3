// Package browsertest loads the dashboard in a headless Chromium, as a user sees it. It needs Chromium: `make browser`
// installs Debian's. Screenshots are written to the directory of -screenshots.
package browsertest

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/cli/dashboard"
	"github.com/spillway-k8s/spillway/cli/dashboard/dashboardtest"
	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

var screenshots = flag.String("screenshots", "", "write screenshots to this `directory`")

const (
	key = "key-of-the-test"
	// hostile is a text that would run a script if it became markup.
	hostile = `"><img src=x onerror="document.title='attacked'"><script>document.title='attacked'</script>`
	// timeout bounds a test. Chromium starts slowly on a busy machine.
	timeout = 3 * time.Minute
)

// browser is a tab of a Chromium, and the page in it.
type browser struct {
	t      *testing.T
	ctx    context.Context
	source *dashboardtest.Source
	url    string

	lock       sync.Mutex
	complaints []string
}

// open starts a Chromium and a dashboard of all namespaces.
func open(t *testing.T) *browser {
	t.Helper()
	return openOf(t, "")
}

// openOf starts a Chromium and a dashboard of a namespace, or of all if the name is empty.
func openOf(t *testing.T, namespace string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "this test needs Chromium: `make browser` installs it")
	source, err := dashboardtest.New()
	require.NoError(t, err)
	done := make(chan struct{})
	server := httptest.NewServer(dashboard.New(source, dashboard.Config{
		Namespace: namespace, Key: key, Now: time.Now, Done: done,
	}))
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // It refuses to start as root otherwise.
	}
	ctx, stop := context.WithTimeout(t.Context(), timeout)
	ctx, stopAllocator := chromedp.NewExecAllocator(ctx, options...)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		close(done)
		stopTab()
		stopAllocator()
		stop()
		server.Close()
	})
	b := &browser{t: t, ctx: ctx, source: source, url: server.URL}
	b.do(chromedp.Navigate("about:blank"))
	go b.listen(chromedp.Console(ctx))
	return b
}

// listen keeps errors of the page: exceptions, and what its Content-Security-Policy has blocked. It ends with the tab.
func (b *browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for message, err := range messages {
		if err != nil {
			return
		}
		if message.Type == chromedp.ConsoleError || message.Type == chromedp.ConsoleException {
			b.lock.Lock()
			b.complaints = append(b.complaints, message.Text)
			b.lock.Unlock()
		}
	}
}

// requireNoErrors fails if the page has had errors.
func (b *browser) requireNoErrors() {
	b.t.Helper()
	b.lock.Lock()
	defer b.lock.Unlock()
	assert.Empty(b.t, b.complaints)
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// evaluate returns the value of an expression.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return value
}

// await waits until an expression is true. The polling of chromedp needs eval, which the page forbids.
func (b *browser) await(expression string) {
	b.t.Helper()
	for !evaluate[bool](b, expression) {
		time.Sleep(50 * time.Millisecond) // The context of b bounds it.
	}
}

// load opens the page with its key and waits until it has rows.
func (b *browser) load(rows int) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(b.url+"/#key="+key))
	b.await(fmt.Sprintf("document.querySelectorAll('#rows tr').length === %d", rows))
}

// openWhy opens the explanation of a workload and waits until it has Pods.
func (b *browser) openWhy(workload string, pods int) {
	b.t.Helper()
	b.await(fmt.Sprintf(`(() => { const row = [...document.querySelectorAll('#rows button')]
		.find((e) => e.innerText === %q); row?.click(); return Boolean(row); })()`, workload))
	b.await(fmt.Sprintf("document.querySelectorAll('#why details').length === %d", pods))
}

// media sets the size of the screen and the preference of the user.
func (b *browser) media(width, height int64, scheme string) {
	b.t.Helper()
	var options []chromedp.EmulateViewportOption
	if width < 500 {
		options = append(options, chromedp.EmulateMobile)
	}
	b.do(chromedp.EmulateViewport(width, height, options...))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
	require.NoError(b.t, err)
}

// screenshot writes what the screen shows, if -screenshots asks for it.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	content, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(*screenshots, name+".png"), content, 0o644))
}

// fill gives the source a cluster in which something of each kind happens, with hostile names and messages.
func fill(source *dashboardtest.Source) {
	at := time.Now().Add(-time.Minute)
	source.Change(func(in *status.Input, events *[]*corev1.Event) {
		locked := dashboardtest.Node("virtual-node-cci-1")
		locked.Spec.Unschedulable = true
		locked.Annotations[policy.SoldOutUntilAnnotation] = "2026-11-30T14:10:00Z"
		in.Nodes = []*corev1.Node{dashboardtest.Node("virtual-node-cci-0"), locked}
		add := func(namespace, name, quota string, local, cloud, waiting int) {
			for i := range local + cloud + waiting {
				node := "local-1"
				switch {
				case i >= local+cloud:
					node = ""
				case i >= local:
					node = "virtual-node-cci-0"
				}
				in.Pods = append(in.Pods, dashboardtest.Pod(namespace, name, i, node, quota, at))
			}
		}
		add("shop", "cart", "1", 1, 5, 1)
		add("shop", "checkout-with-a-name-that-is-as-long-as-kubernetes-lets-it-be", "3", 3, 12, 0)
		add("shop", "orders", "2", 2, 0, 0)
		add("batch", "nightly-report", "", 0, 42, 7)
		add("web", "front", "10", 10, 25, 0)
		add(hostile, hostile, "1", 1, 1, 1)
		*events = []*corev1.Event{
			dashboardtest.Event("Node", "", "virtual-node-cci-1", "CloudSoldOut",
				"The cloud has no capacity for 2 vCPU, 4Gi.", true, at.Add(time.Second)),
			dashboardtest.Event("Pod", hostile, hostile, hostile, hostile, false, at.Add(2*time.Second)),
		}
		in.Unknown = []string{"the Jobs (you lack the right to read it)", hostile}
	})
}

func TestThePageShowsTheCluster(t *testing.T) {
	b := open(t)
	fill(b.source)
	b.media(1360, 1000, "light")
	b.load(6)
	text := evaluate[string](b, "document.body.innerText")
	for _, want := range []string{
		"all namespaces", "cart", "the Jobs (you lack the right to read it)", "virtual-node-cci-0", "ready",
		"the cloud is sold out; locked until 2026-11-30T14:10:00Z", "The cloud has no capacity for 2 vCPU, 4Gi.",
		"It was bound to local node local-1.", hostile,
	} {
		assert.Contains(t, text, want)
	}
	assert.Equal(t, "17 local, 85 in the cloud, 9 waiting",
		evaluate[string](b, "document.querySelector('#total-bar').getAttribute('aria-label')"))
	assert.Equal(t, "1 5 1 1", evaluate[string](b,
		"[...[...document.querySelectorAll('#rows tr')].find(r => r.querySelector('button').innerText === 'cart')"+
			".querySelectorAll('td.number')].slice(0, 4).map(c => c.innerText).join(' ')"))
	assert.Equal(t, "85 of 1000", evaluate[string](b, "[...document.querySelectorAll('.nodes li')]"+
		".find(n => n.innerText.includes('cci-0')).querySelectorAll('.loads span')[1].innerText"))
	assert.NotContains(t, evaluate[string](b, "location.href"), "key", "the key leaves the address bar")
	b.screenshot("light")

	b.source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		in.Pods = append(in.Pods, dashboardtest.Pod("shop", "cart", 99, "virtual-node-cci-0", "1", time.Now()))
	})
	b.await(`document.querySelector('#total-cloud').innerText === '86'`)
	b.requireNoErrors()
}

func TestThePageShowsTheCostIfThereArePrices(t *testing.T) {
	table, err := prices.New(prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
	})
	require.NoError(t, err)
	b := open(t)
	fill(b.source)
	b.media(360, 780, "light")
	b.load(6)
	assert.Equal(t, "none", evaluate[string](b, "getComputedStyle(document.querySelector('#cost')).display"))
	b.source.Change(func(in *status.Input, _ *[]*corev1.Event) { in.Prices = table })
	// 85 Pods of 1 vCPU and 2 GiB.
	b.await(`document.querySelector('#total-cost').innerText === '42.5000 CNY/hour, 31025.00 CNY/month'`)
	assert.LessOrEqual(t, evaluate[int](b, "document.documentElement.scrollWidth"), 360, "it scrolls sideways")
	b.screenshot("cost-phone")
	b.media(1360, 1000, "light")
	b.screenshot("cost")
	b.requireNoErrors()
}

func TestADashboardOfANamespaceSaysWhatTheLoadIs(t *testing.T) {
	const note = "document.querySelector('#nodes-note').innerText"
	b := openOf(t, "shop")
	fill(b.source)
	b.media(1360, 1000, "light")
	b.load(6)
	assert.Contains(t, evaluate[string](b, note), "The load is that of namespace shop only")
	b.screenshot("namespace")
	b.requireNoErrors()

	b = open(t)
	fill(b.source)
	b.load(6)
	assert.Empty(t, evaluate[string](b, note), "all namespaces have the whole load")
}

// Nothing that a tenant writes may become markup: not in the list, not in the dialog.
func TestHostileTextsAreText(t *testing.T) {
	b := open(t)
	fill(b.source)
	b.load(6)
	b.openWhy(hostile, 3)
	assert.Contains(t, evaluate[string](b, "document.querySelector('#why').innerText"), "onerror")
	assert.Equal(t, 0, evaluate[int](b, "document.querySelectorAll('img, body script, iframe').length"))
	assert.Equal(t, "Spillway: all namespaces", evaluate[string](b, "document.title"))
	// The policies of the page would stop a mistake in it.
	assert.True(t, evaluate[bool](b,
		`(() => { try { document.body.innerHTML = 'x'; return false } catch { return true } })()`))
	assert.True(t, evaluate[bool](b, `(() => { const s = document.createElement('script');
		try { s.text = 'document.title = "attacked"' } catch { return true }
		document.body.append(s); return document.title !== 'attacked' })()`))
}

func TestThePageFitsAPhoneInLightAndDark(t *testing.T) {
	b := open(t)
	fill(b.source)
	backgrounds := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		b.media(360, 780, scheme)
		b.load(6)
		assert.LessOrEqual(t, evaluate[int](b, "document.documentElement.scrollWidth"), 360, "it scrolls sideways")
		assert.Equal(t, "[]", evaluate[string](b, `JSON.stringify([...document.querySelectorAll('main *')]
			.filter(e => !e.closest('thead, .hidden') && e.getBoundingClientRect().right > 360.5)
			.map(e => e.outerHTML))`))
		backgrounds[scheme] = evaluate[string](b, "getComputedStyle(document.body).backgroundColor")
		b.screenshot("phone-" + scheme)
		b.openWhy("cart", 7)
		assert.LessOrEqual(t, evaluate[int](b, "document.querySelector('#why').scrollWidth"), 360,
			"why scrolls sideways")
		b.screenshot("phone-why-" + scheme)
		b.media(1360, 1000, scheme)
		b.screenshot("why-" + scheme)
		b.do(chromedp.Click(chromedp.CSS("#why-close")))
		b.screenshot("wide-" + scheme)
	}
	assert.NotEqual(t, backgrounds["light"], backgrounds["dark"])
	b.requireNoErrors()
}

// contrasts returns the texts whose contrast is below that of WCAG 2.2 AA, and all bars below 3.
const contrasts = `(() => {
	const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
		return canvas.getImageData(0, 0, 1, 1).data; };
	const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
		.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => { for (; e; e = e.parentElement) {
		const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
	const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
		return (x + .05) / (y + .05); };
	const low = [];
	for (const e of document.querySelectorAll('body *')) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || e.closest('[hidden], .hidden, .skip, noscript, :disabled') || !e.getClientRects().length) continue;
		const r = ratio(rgb(getComputedStyle(e).color), behind(e));
		if (r < 4.5) low.push(e.tagName + '.' + e.className + ' "' + e.textContent.slice(0, 30) + '" ' + r.toFixed(2));
	}
	const style = getComputedStyle(document.documentElement);
	for (const name of ['--local', '--cloud', '--waiting', '--control', '--bad']) {
		const r = ratio(rgb(style.getPropertyValue(name)), rgb(style.getPropertyValue('--card')));
		if (r < 3) low.push(name + ' ' + r.toFixed(2));
	}
	return low.join('\n');
})()`

func TestColorsHaveContrast(t *testing.T) {
	b := open(t)
	fill(b.source)
	for _, scheme := range []string{"light", "dark"} {
		b.media(1360, 1000, scheme)
		b.load(6)
		assert.Empty(t, evaluate[string](b, contrasts), scheme)
		b.openWhy("cart", 7)
		assert.Empty(t, evaluate[string](b, contrasts), scheme+", why")
	}
}

func TestThePageIsUsedWithTheKeyboard(t *testing.T) {
	b := open(t)
	fill(b.source)
	b.load(6)
	b.do(chromedp.KeyEvent(kb.Tab))
	assert.Equal(t, "Skip to the workloads", evaluate[string](b, "document.activeElement.innerText"))
	b.do(chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	assert.Equal(t, "text", evaluate[string](b, "document.activeElement.id"))
	b.do(chromedp.KeyEvent("cart"))
	b.await(`document.querySelectorAll('#rows tr').length === 1`)
	assert.Equal(t, "1 of 6 workloads", evaluate[string](b, "document.querySelector('#count').innerText"))
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.await(`document.querySelectorAll('#why details').length === 7`)
	assert.Equal(t, "why-again", evaluate[string](b, "document.activeElement.id"), "the dialog has the focus")

	// The focus stays while the data change, and returns when the dialog closes.
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`!document.querySelector('#why').open`)
	b.source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		in.Pods = append(in.Pods, dashboardtest.Pod("shop", "cart", 99, "virtual-node-cci-0", "1", time.Now()))
	})
	b.await(`document.querySelector('#total-cloud').innerText === '6'`)
	assert.Equal(t, "cart", evaluate[string](b, "document.activeElement.innerText"))

	// What a screen reader is told: each control has a label, each bar that stands alone a text, each section a name.
	assert.Equal(t, "[]", evaluate[string](b, `JSON.stringify([...document.querySelectorAll('input, select')]
		.filter(e => !e.labels.length).map(e => e.id))`))
	assert.Equal(t, "[]", evaluate[string](b, `JSON.stringify([...document.querySelectorAll('.bar')]
		.filter(e => !e.getAttribute('aria-label') && e.getAttribute('aria-hidden') !== 'true')
		.map(e => e.outerHTML))`))
	assert.Equal(t, "[]", evaluate[string](b, `JSON.stringify([...document.querySelectorAll('section, dialog, nav')]
		.filter(e => !e.getAttribute('aria-label') && !document.getElementById(e.getAttribute('aria-labelledby')))
		.map(e => e.outerHTML))`))
}

func TestAThousandWorkloadsArePaged(t *testing.T) {
	b := open(t)
	b.source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		in.Nodes = []*corev1.Node{dashboardtest.Node("virtual-node-cci-0")}
		for i := range 1000 {
			in.Pods = append(in.Pods,
				dashboardtest.Pod("shop", fmt.Sprintf("work-%04d", i), 0, "virtual-node-cci-0", "", time.Now()))
		}
	})
	b.media(1360, 1000, "light")
	b.load(50)
	assert.Less(t, evaluate[int](b, "document.querySelectorAll('*').length"), 2500)
	b.do(chromedp.Click(chromedp.CSS("#next")))
	b.await(`document.querySelector('#page').innerText === 'Page 2 of 20'`)
	assert.Equal(t, "work-0050", evaluate[string](b, "document.querySelector('#rows button').innerText"))
	b.screenshot("thousand")
}

func TestThePageSaysThatItIsNotConnected(t *testing.T) {
	b := open(t)
	b.do(chromedp.Navigate(b.url + "/"))
	b.await(`document.querySelector('.live.off') !== null`)
	assert.Contains(t, evaluate[string](b, "document.querySelector('#error').innerText"), "address that the command")
	assert.Equal(t, "No key", evaluate[string](b, "document.querySelector('#live').innerText"))
}
