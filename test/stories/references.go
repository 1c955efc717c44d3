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
	if err := w.checkMirrors(ctx, "blue", "swordfish"); err != nil {
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
	if err := w.checkMirrors(ctx, "red", "sesame"); err != nil {
		return err
	}
	if err := w.run(ctx, "delete", "deployment", "shop"); err != nil {
		return err
	}
	err := w.await(ctx, "the mirrors to be deleted from the cloud", func(ctx context.Context) (bool, string, error) {
		configMaps, secrets, err := w.mirrors(ctx)
		now := fmt.Sprintf("%d ConfigMaps and %d Secrets", len(configMaps), len(secrets))
		return err == nil && len(configMaps)+len(secrets) == 0, now, err
	})
	if err == nil {
		w.printf("  none of them is left in the cloud")
	}
	return err
}

// mirrors returns the mirrors of the objects in the story's namespace, by the kind and name of the source.
func (w *World) mirrors(ctx context.Context) (map[string]corev1.ConfigMap, map[string]corev1.Secret, error) {
	var configMaps corev1.ConfigMapList
	if err := w.cluster.Cloud.List(ctx, "configmaps", &configMaps); err != nil {
		return nil, nil, err
	}
	var secrets corev1.SecretList
	if err := w.cluster.Cloud.List(ctx, "secrets", &secrets); err != nil {
		return nil, nil, err
	}
	source := func(meta metav1.ObjectMeta) (string, bool) {
		a := meta.Annotations
		key := a[policy.CloudSourceKindAnnotation] + "/" + a[policy.CloudSourceNameAnnotation]
		return key, a[policy.CloudSourceNamespaceAnnotation] == w.Namespace
	}
	mirroredMaps, mirroredSecrets := map[string]corev1.ConfigMap{}, map[string]corev1.Secret{}
	for _, c := range configMaps.Items {
		if name, ok := source(c.ObjectMeta); ok {
			mirroredMaps[name] = c
		}
	}
	for _, s := range secrets.Items {
		if name, ok := source(s.ObjectMeta); ok {
			mirroredSecrets[name] = s
		}
	}
	return mirroredMaps, mirroredSecrets, nil
}

// checkMirrors compares the mirrors with the data of their sources.
func (w *World) checkMirrors(ctx context.Context, colour, word string) error {
	what := fmt.Sprintf("the mirrors to have %q and %q", colour, word)
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		configMaps, secrets, err := w.mirrors(ctx)
		gotColour := configMaps["ConfigMap/settings"].Data["COLOUR"]
		gotWord := string(secrets["Secret/password"].Data["word"])
		now := fmt.Sprintf("%q and %q", gotColour, gotWord)
		return err == nil && gotColour == colour && gotWord == word, now, err
	})
	if err != nil {
		return err
	}
	pods, err := w.cloudPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if strings.Contains(pod.String(), word) {
			return fmt.Errorf("cloud pod %s contains the data of the Secret", pod.Name)
		}
	}
	w.printf("  in the cloud: COLOUR is %s, the Secret has the password, and no Pod contains it", colour)
	return nil
}

// checkTokens asks the API server which user each token in the cloud belongs to. Where tokens are not copied, it checks
// that there are none.
func (w *World) checkTokens(ctx context.Context) error {
	_, secrets, err := w.mirrors(ctx)
	if err != nil {
		return err
	}
	pods, err := w.pods(ctx, "shop")
	if err != nil {
		return err
	}
	for i := range pods {
		held := secrets["Token/"+pods[i].Name].Data
		if w.cluster.WithoutTokens {
			if len(held) != 0 {
				return fmt.Errorf("pod %s has %d tokens in the cloud: want none", pods[i].Name, len(held))
			}
			continue
		}
		if len(held) != 1 {
			return fmt.Errorf("pod %s has %d tokens in the cloud: want 1", pods[i].Name, len(held))
		}
		token := string(slices.Collect(maps.Values(held))[0])
		review, err := w.client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("reviewing the token of pod %s: %w", pods[i].Name, err)
		}
		user, want := review.Status.User.Username, "system:serviceaccount:"+w.Namespace+":shopkeeper"
		if user != want {
			return fmt.Errorf("the token of pod %s belongs to %q: want %s", pods[i].Name, user, want)
		}
		w.printf("  the token of %s belongs to %s", pods[i].Name, user)
	}
	return nil
}
