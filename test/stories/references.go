package stories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func playReferences(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "references.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "shop", 0, 2); err != nil {
		return err
	}
	if err := w.checkCopies(ctx, "blue", "swordfish"); err != nil {
		return err
	}
	if err := w.checkTokens(ctx); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"patch", "configmap", "settings", "--patch", `{"data":{"COLOUR":"red"}}`},
		{"patch", "secret", "password", "--patch", `{"stringData":{"word":"sesame"}}`},
		{"rollout", "restart", "deployment/shop"},
		{"rollout", "status", "deployment/shop", "--timeout=80s"},
	} {
		if err := w.run(ctx, command...); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "shop", 0, 2); err != nil {
		return err
	}
	if err := w.checkCopies(ctx, "red", "sesame"); err != nil {
		return err
	}
	if err := w.run(ctx, "delete", "deployment", "shop"); err != nil {
		return err
	}
	err := w.await(ctx, "the copies to be gone from the cloud", func(ctx context.Context) (bool, string, error) {
		configMaps, secrets, err := w.copies(ctx)
		return err == nil && len(configMaps)+len(secrets) == 0, fmt.Sprintf("%d ConfigMaps and %d Secrets", len(configMaps), len(secrets)), err
	})
	if err == nil {
		w.tell("  nothing of them is left in the cloud")
	}
	return err
}

// copies are the cloud's copies of objects of the story's namespace, by the kind and name of the source.
func (w *World) copies(ctx context.Context) (map[string]corev1.ConfigMap, map[string]corev1.Secret, error) {
	var configMaps corev1.ConfigMapList
	if err := w.listInCloud(ctx, "configmaps", &configMaps); err != nil {
		return nil, nil, err
	}
	var secrets corev1.SecretList
	if err := w.listInCloud(ctx, "secrets", &secrets); err != nil {
		return nil, nil, err
	}
	source := func(meta metav1.ObjectMeta) (string, bool) {
		a := meta.Annotations
		return a[policy.CloudSourceKindAnnotation] + "/" + a[policy.CloudSourceNameAnnotation], a[policy.CloudSourceNamespaceAnnotation] == w.Namespace
	}
	ours, theirs := map[string]corev1.ConfigMap{}, map[string]corev1.Secret{}
	for _, c := range configMaps.Items {
		if name, ok := source(c.ObjectMeta); ok {
			ours[name] = c
		}
	}
	for _, s := range secrets.Items {
		if name, ok := source(s.ObjectMeta); ok {
			theirs[name] = s
		}
	}
	return ours, theirs, nil
}

// checkCopies holds the cloud's copies against what their sources hold.
func (w *World) checkCopies(ctx context.Context, colour, word string) error {
	configMaps, secrets, err := w.copies(ctx)
	if err != nil {
		return err
	}
	if got := configMaps["ConfigMap/settings"].Data["COLOUR"]; got != colour {
		return fmt.Errorf("the copy of ConfigMap settings says %q: want %q", got, colour)
	}
	if got := string(secrets["Secret/password"].Data["word"]); got != word {
		return fmt.Errorf("the copy of Secret password says %q: want %q", got, word)
	}
	pods, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if strings.Contains(pod.String(), word) {
			return fmt.Errorf("cloud pod %s shows what the Secret holds", pod.Name)
		}
	}
	w.tell("  in the cloud: COLOUR is %s, the password is where it belongs, and no Pod shows it", colour)
	return nil
}

// checkTokens asks the API server whose tokens the cloud has.
func (w *World) checkTokens(ctx context.Context) error {
	_, secrets, err := w.copies(ctx)
	if err != nil {
		return err
	}
	pods, err := w.pods(ctx, "shop")
	if err != nil {
		return err
	}
	for i := range pods {
		held := secrets["Token/"+pods[i].Name].Data
		if len(held) != 1 {
			return fmt.Errorf("pod %s has %d tokens in the cloud: want 1", pods[i].Name, len(held))
		}
		token := string(slices.Collect(maps.Values(held))[0])
		review, err := w.client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("asking whose token pod %s has: %w", pods[i].Name, err)
		}
		if want := "system:serviceaccount:" + w.Namespace + ":shopkeeper"; review.Status.User.Username != want {
			return fmt.Errorf("the token of pod %s is that of %q: want %s", pods[i].Name, review.Status.User.Username, want)
		}
		w.tell("  the token of %s is that of %s", pods[i].Name, review.Status.User.Username)
	}
	return nil
}
