/**
 * Types of Kubernetes' objects, generated from its published OpenAPI document: tests check manifests
 * against them.
 *
 * @module
 */

export type { Deployment } from "npm:kubernetes-types@1.30.0/apps/v1.d.ts";
export type { HorizontalPodAutoscaler } from "npm:kubernetes-types@1.30.0/autoscaling/v2.d.ts";
export type { ConfigMap, PodTemplateSpec, Service } from "npm:kubernetes-types@1.30.0/core/v1.d.ts";
export type { ObjectMeta } from "npm:kubernetes-types@1.30.0/meta/v1.d.ts";
export type { PodDisruptionBudget } from "npm:kubernetes-types@1.30.0/policy/v1.d.ts";
