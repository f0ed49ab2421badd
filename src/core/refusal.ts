// Reasons of a registry for which the distribution-spec has no code: each product has words of its own, and both our
// client and Skopeo pass them on.

/** The tag exists and may not be moved: ECR, Harbor, Artifact Registry, ACR, Nexus. */
export function isImmutable(text: string): boolean {
  return /ImageTagAlreadyExists|immutab|does not allow updating|tag.{0,40}(?:already exists|cannot be (?:overwritten|updated|modified))/i.test(
    text,
  );
}

/**
 * Storage, or the number of images, is used up. Harbor (goharbor/harbor#17390), Quay, GitLab, DigitalOcean
 * (docker/build-push-action#586) and ECR say so with 403 or 412. Google says "Quota exceeded" of requests a minute,
 * with 429 (kubernetes/k8s.io#6431): who asks has to look for that first.
 */
export function isQuota(text: string): boolean {
  return /exceed the configured upper limit|quota (?:has been |was |is )?(?:exceeded|reached|used up)|(?:exceed(?:s|ed)?|over) (?:the |your |its )?(?:storage |account )?quota|storage limit (?:has been |was )?(?:reached|exceeded)|maximum allowed number of images|registry contains [0-9]+ repositories, limit is|OverQuota/i.test(
    text,
  );
}

/** Its disk is full: the words, and the errno in which docker-registry 2 has them (`"Err":28` in the detail). */
export function isFull(text: string): boolean {
  return /no space left on device|disk quota exceeded|"Err":28\b/i.test(text);
}

/** The token is good for something else: RFC 6750, section 3.1, and the words of GHCR. */
export function lacksScope(text: string): boolean {
  return /insufficient[_ ]scope|does not match expected scopes/i.test(text);
}
