// Made of the OpenAPI document by `node scripts/generate.ts`.

export interface paths {
  '/.well-known/dray-receipt-keys.json': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * The public keys of receipts
     * @description A JWK set with every key that has ever signed receipts here, the newest first. Open to everybody.
     */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description The keys */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/jwk-set+json': components['schemas']['ReceiptKeys'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/container-token': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Refused: the old API can not mirror */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/health': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Whether it serves */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Health'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/service-info': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Version */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': {
              serviceInfo: {
                commitId: string;
                version: string;
              };
            };
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/events': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Live events of all mirrors
     * @description Of those that the caller has asked for; for an administrator, of all. From now on, or behind `Last-Event-ID`. The stream does not end.
     */
    get: {
      parameters: {
        query?: never;
        header?: {
          /** @description Go on behind this event */
          'last-event-id'?: string;
        };
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description A stream of server-sent events; `event` is the type, `data` is this */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'text/event-stream': components['schemas']['MirrorEvent'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/keys': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** All keys */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': {
              keys: components['schemas']['Key'][];
            };
          };
        };
      };
    };
    put?: never;
    /** Make a key */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody: {
        content: {
          'application/json': {
            /** @default false */
            admin?: boolean;
            name: string;
          };
        };
      };
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        201: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['CreatedKey'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/keys/{id}': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    post?: never;
    /** Revoke a key */
    delete: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Key'];
          };
        };
      };
    };
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Mirrors, newest first
     * @description All for an administrator, for others what they have asked for. A page goes on behind the last mirror of the one before, whatever has come or was removed since.
     */
    get: {
      parameters: {
        query?: {
          /** @description Go on where the page with this `next` has ended */
          cursor?: string;
          /** @description What the source resolved to, such as sha256:… */
          digest?: string;
          limit?: number;
          /** @description Asked for then or later; ISO 8601 */
          since?: string;
          /** @description From there: a registry host, host and path with all that is under it, or host/path:tag */
          source?: string;
          /** @description In one of these states: state=queued&state=copying */
          state?: ('queued' | 'copying' | 'done' | 'failed' | 'cancelled')[];
          /** @description To there: the same */
          target?: string;
          /** @description What this tenant has asked for; for administrators */
          tenant?: string;
          /** @description Asked for before */
          until?: string;
        };
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['MirrorList'];
          };
        };
      };
    };
    put?: never;
    /**
     * Mirror images
     * @description Each image to each target, with an outcome for each of these pairs: one that fails is no failure of another, nor of the request. A pair counts as one submit in the limits; those beyond a limit have the error `too_many_requests`, and 429 is answered where there is room for none. What was accepted stays so when the client goes away; the rest is not begun then.
     */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody: {
        content: {
          'application/json': components['schemas']['NewMirrors'];
        };
      };
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Outcomes'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors/{id}': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** One mirror, by its own id or that of a request */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Mirror'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors/{id}/cancel': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * End a mirror that is under way
     * @description Its copy ends within two seconds. An administrator may end any mirror, others what they alone have asked for. One that was cancelled stays so; one that has ended otherwise is a 409.
     */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Mirror'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors/{id}/events': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Live events of one mirror
     * @description From its beginning, or behind `Last-Event-ID`, until it has ended; then the stream ends.
     */
    get: {
      parameters: {
        query?: never;
        header?: {
          /** @description Go on behind this event */
          'last-event-id'?: string;
        };
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description A stream of server-sent events; `event` is the type, `data` is this */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'text/event-stream': components['schemas']['MirrorEvent'];
          };
        };
        /** @description It has ended, and all was told */
        204: {
          headers: {
            [name: string]: unknown;
          };
          content?: never;
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors/{id}/receipt': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * What was copied, signed
     * @description The receipt of a mirror that is done: a DSSE envelope with an in-toto statement (`Receipt`). Only who has asked for the mirror, and administrators, may have it.
     */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description The envelope */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/vnd.dsse.envelope.v1+json': components['schemas']['Envelope'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/mirrors/{id}/retry': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Ask again for what a mirror was to bring
     * @description The same source and target, with the logins of who asks now: a new mirror, or the one that is under way, or nothing when it is there. One that pauses before its next try goes on at once.
     */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['MirrorAnswer'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/plan': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Say what mirroring would do
     * @description The body and the limits are those of `POST /v1/mirrors`, with or without `dryRun`. Nothing is started or recorded. The manifests of the source are read, which a quota of pulls counts.
     */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody: {
        content: {
          'application/json': components['schemas']['NewMirrors'];
        };
      };
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Plans'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1/receipt-keys': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Sign with a new key from now on
     * @description For administrators. What was signed before can still be checked.
     */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        201: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['ReceiptKey'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1alpha1/mirrors/{id}': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** A mirror on record */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['MirrorRecord'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1alpha1/mirrors/{id}/logs': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** A mirror's log */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description What was done, and what Skopeo said */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'text/plain': string;
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1alpha2/container': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Mirror an image */
    post: {
      parameters: {
        query?: never;
        header?: never;
        path?: never;
        cookie?: never;
      };
      requestBody: {
        content: {
          'application/json': components['schemas']['ContainerRequest'];
        };
      };
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['ContainerAnswer'];
          };
        };
      };
    };
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1alpha2/container/{id}': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** A request on record */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['ContainerRecord'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  '/v1alpha2/container/{id}/status': {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * How far a request is
     * @description Needs no login: the request id is the secret.
     */
    get: {
      parameters: {
        query?: never;
        header?: never;
        path: {
          id: string;
        };
        cookie?: never;
      };
      requestBody?: never;
      responses: {
        /** @description Default Response */
        '4XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        '5XX': {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['Error'];
          };
        };
        /** @description Default Response */
        200: {
          headers: {
            [name: string]: unknown;
          };
          content: {
            'application/json': components['schemas']['ContainerStatus'];
          };
        };
      };
    };
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
}
export type webhooks = Record<string, never>;
export interface components {
  schemas: {
    Arrival: {
      blobs: number;
      /** @description Compressed bytes of those blobs */
      bytes: number;
      /** @description Layers that live elsewhere by design, and are not there */
      foreign: string[];
      /**
       * @description How the target was looked at
       * @enum {string}
       */
      level: 'manifests' | 'blobs' | 'full';
      manifests: number;
      /** @description What of it the last try has moved; the rest was there */
      moved: {
        blobs: number;
        bytes: number;
        referrers: number;
      };
      referrers: {
        artifactType: string;
        digest: string;
        /** @description The manifest that it refers to */
        subject: string;
        /** @description Where it has no subject of its own: the tag that tells */
        tag?: string;
      }[];
    };
    ContainerAnswer: {
      /** @description The mirror's id; absent when nothing was copied and nothing is on record */
      buildId?: string;
      /** @description The target already holds the source’s digest */
      cached: boolean;
      /** @description The same */
      containerImage: string;
      /** @constant */
      freeze: false;
      /** @constant */
      mirror: true;
      /** @description Unguessable; the secret of the status call */
      requestId: string;
      /**
       * @description The image is there; absent while it is on its way
       * @constant
       */
      succeeded?: true;
      /** @description What to pull */
      targetImage: string;
    };
    ContainerRecord: {
      containerImage: string;
      creationTime: string;
      digest: string;
      mirrorId: string | null;
      requestId: string;
      targetImage: string;
    };
    /**
     * @example {
     *       "mirror": true,
     *       "containerImage": "ubuntu:24.04",
     *       "buildRepository": "quay.io/acme",
     *       "towerAccessToken": "dray_…"
     *     }
     */
    ContainerRequest: {
      buildContext?: unknown;
      /** @description The target: a registry host, or host and path */
      buildRepository?: string | null;
      condaFile?: unknown;
      containerConfig?: unknown;
      /** @description Excludes `mirror`, as do the five that follow */
      containerFile?: unknown;
      /** @description The source image */
      containerImage?: string | null;
      containerIncludes?: unknown;
      /** @description Ignored: every platform is copied */
      containerPlatform?: string | null;
      /** @description Validate and answer, start nothing */
      dryRun?: boolean | null;
      fingerprint?: string | null;
      /** @description Excludes `mirror` when true */
      freeze?: boolean | null;
      /** @description `true` asks for mirroring; nothing else is served */
      mirror?: boolean | null;
      packages?: unknown;
      /** @description `required` is refused: no scanner is configured */
      scanMode?: string | null;
      timestamp?: string | null;
      /** @description An access token of Seqera Platform, or a key of this service */
      towerAccessToken?: string | null;
      /** @description Seqera Platform; absent: the first that is configured */
      towerEndpoint?: string | null;
      towerRefreshToken?: string | null;
      /** @description Absent: the personal workspace */
      towerWorkspaceId?: number | null;
      workflowId?: string | null;
    };
    ContainerStatus: {
      buildId: null;
      /** @description ISO 8601, UTC */
      creationTime: string;
      /** @description A page with more */
      detailsUri?: string;
      /** @description Seconds, with a decimal point */
      duration?: string;
      id: string;
      mirrorId: string | null;
      /** @description Why it failed */
      reason?: string;
      scanId: null;
      /**
       * @description BUILDING: queued or copying
       * @enum {string}
       */
      status: 'PENDING' | 'BUILDING' | 'SCANNING' | 'DONE';
      /** @description Present when DONE */
      succeeded?: boolean;
      vulnerabilities: null;
    };
    CreatedKey: {
      admin: boolean;
      createdAt: string;
      id: string;
      /** @description Shown this once */
      key: string;
      lastUsedAt?: string;
      name: string;
      revokedAt?: string;
    };
    Envelope: {
      /** @description The statement (`Receipt`), in base64 */
      payload: string;
      payloadType: string;
      signatures: {
        /** @description SHA-256 of the public key in DER */
        keyid?: string;
        /** @description ECDSA with P-256 and SHA-256 over the PAE, in DER and base64 */
        sig: string;
      }[];
    };
    Error: {
      /** @description The kind of failure; see docs/errors.md */
      code: string;
      /** @description What failed and what to do, in full sentences */
      message: string;
      /** @description What to do */
      remedy?: string;
      /**
       * @description The registry at fault
       * @enum {string}
       */
      side?: 'source' | 'target';
    };
    Failure: {
      code: string;
      message: string;
      remedy: string;
      retryable: boolean;
      /** @enum {string} */
      side?: 'source' | 'target';
    };
    Health: {
      /**
       * @description away: it did not answer within a second
       * @enum {string}
       */
      database: 'ok' | 'away';
      /** @description The installations of Seqera Platform that are configured */
      pairings: {
        endpoint: string;
        lastError?: string;
        /** @description When this state began; ISO 8601, UTC */
        since: string;
        /**
         * @description waiting: no socket is open
         * @enum {string}
         */
        state: 'connected' | 'waiting';
      }[];
      /** @constant */
      status: 'ok';
      version: string;
    };
    Key: {
      admin: boolean;
      createdAt: string;
      id: string;
      lastUsedAt?: string;
      name: string;
      revokedAt?: string;
    };
    LayerEvent: {
      /** Format: date-time */
      at: string;
      digest: string;
      /** @description The mirror's id */
      mirror: string;
      /** @description Compressed bytes */
      size: number;
      /**
       * @description Each layer ends once: `done` was sent, `skipped` was there already, `mounted` was there in another repository
       * @enum {string}
       */
      state: 'started' | 'done' | 'skipped' | 'mounted';
      /** @constant */
      type: 'layer';
    };
    Mirror: {
      /** @description What has come, or was found there, once it is done */
      arrival?: components['schemas']['Arrival'];
      attempts: number;
      createdAt: string;
      digest: string;
      exitCode?: number;
      failure?: components['schemas']['Failure'];
      finishedAt?: string;
      id: string;
      /** @enum {string} */
      phase?: 'planning' | 'copying' | 'verifying' | 'tagging';
      /** @description Those that are wanted; absent: every one */
      platforms?: string[];
      progress: {
        /** @description Compressed bytes; never fewer than before */
        bytesDone: number;
        /** @description 0 until it is known what there is to copy */
        bytesTotal: number;
        layersDone: number;
        layersTotal: number;
      };
      /** @description What is wanted of what refers to it */
      referrers: ('all' | 'none') | string[];
      source: string;
      startedAt?: string;
      /** @enum {string} */
      state: 'queued' | 'copying' | 'done' | 'failed' | 'cancelled';
      target: string;
      /** @description While it is `queued`: when it is tried again */
      wait?: {
        /** @description Who asked for it; absent: our own pause before the next try */
        host?: string;
        /** Format: date-time */
        until: string;
      };
    };
    MirrorAnswer: {
      /** @description The target holds it already */
      cached: boolean;
      digest: string;
      mirrorId?: string;
      requestId: string;
      target: string;
    };
    MirrorEvent:
      | components['schemas']['StateEvent']
      | components['schemas']['LayerEvent']
      | components['schemas']['ProgressEvent'];
    MirrorList: {
      mirrors: components['schemas']['Mirror'][];
      /** @description Pass it as `cursor`, with the same filters, for the next page; absent: there is none */
      next?: string;
    };
    MirrorRecord: {
      creationTime: string;
      digest: string;
      duration?: string;
      exitCode: number | null;
      /** @description For callers who may read them */
      logs?: string;
      mirrorId: string;
      /** @description Every platform */
      platform: null;
      sourceImage: string;
      /** @enum {string} */
      status: 'PENDING' | 'COMPLETED';
      targetImage: string;
    };
    /**
     * @description At most 1000 images times targets
     * @example {
     *       "images": [
     *         "ubuntu:24.04",
     *         "quay.io/biocontainers/bwa:0.7.17"
     *       ],
     *       "to": [
     *         "quay.io/acme"
     *       ]
     *     }
     */
    NewMirrors: {
      /** @description Look and answer, start nothing */
      dryRun?: boolean;
      /** @description Source images, as Docker writes them */
      images: string[];
      /** @description Which platforms of an image, such as linux/arm64; absent: as the service is configured */
      platforms?: string[];
      /** @description What comes along of what refers to an image: all, none, or these artifact types; absent: as the service is configured */
      referrers?: ('all' | 'none') | string[];
      /** @description Targets: each a registry host, or host and path. Every image goes to each of them */
      to: string | string[];
    };
    Outcome: {
      /** @description The target holds it already */
      cached?: boolean;
      digest?: string;
      /** @description Why there is nothing else */
      error?: components['schemas']['OutcomeError'];
      /** @description As it was asked for */
      image: string;
      mirrorId?: string;
      requestId?: string;
      target?: string;
      to: string;
    };
    OutcomeError: {
      code: string;
      message: string;
      remedy: string;
      retryable: boolean;
      /** @description Seconds after which to ask again */
      retryAfter?: number;
      /** @enum {string} */
      side?: 'source' | 'target';
    };
    Outcomes: {
      /** @description In the order asked for: image by image, target by target */
      outcomes: components['schemas']['Outcome'][];
    };
    Plan: {
      blobs: components['schemas']['Share'];
      /** @description Compressed bytes of those blobs */
      bytes: components['schemas']['Share'];
      digest: string;
      /** @description Layers that live elsewhere by design, and are not moved */
      foreign: string[];
      manifests: components['schemas']['Share'];
      /** @description All that is wanted is there: nothing would be done */
      present: boolean;
      /** @description What it would cost of the quota of the source */
      rate: {
        limit?: number;
        /** @description Manifests that would be read of the source: what a quota of pulls counts */
        reads: number;
        /** @description What the source has told of its quota: what is left of it */
        remaining?: number;
        /**
         * Format: date-time
         * @description Before that, the source lets nobody in
         */
        resumesAt?: string;
      };
      /** @description Signatures, attestations … */
      referrers: components['schemas']['Share'];
      /** @description Each rule in whose scope it is */
      rules: {
        passed: boolean;
        /** @description What mirroring it would be refused with */
        refusal?: components['schemas']['Failure'];
        /** @description Its name in dray.yaml */
        rule: string;
        why: string;
      }[];
      /** @description The tag at the target; absent: none is asked for */
      tag?: {
        /** @description The digest that it points to at the target now */
        held?: string;
        /** @description It would be set, or moved */
        sets: boolean;
      };
      target: string;
      /** @description What of the image */
      wanted: {
        /** @description Absent: every one */
        platforms?: string[];
        referrers: ('all' | 'none') | string[];
      };
    };
    PlanOutcome: {
      /** @description What mirroring it would be refused for */
      error?: components['schemas']['OutcomeError'];
      /** @description As it was asked for */
      image: string;
      plan?: components['schemas']['Plan'];
      to: string;
    };
    Plans: {
      /** @description In the order asked for: image by image, target by target */
      plans: components['schemas']['PlanOutcome'][];
    };
    ProgressEvent: {
      /** Format: date-time */
      at: string;
      /** @description Compressed bytes; never fewer than before */
      bytesDone: number;
      /** @description 0 until it is known what there is to copy */
      bytesTotal: number;
      layersDone: number;
      layersTotal: number;
      /** @description The mirror's id */
      mirror: string;
      /** @enum {string} */
      phase?: 'planning' | 'copying' | 'verifying' | 'tagging';
      /** @constant */
      type: 'progress';
    };
    Receipt: {
      /** @constant */
      _type: 'https://in-toto.io/Statement/v1';
      predicate: {
        /** Format: date-time */
        askedAt: string;
        by: {
          commit?: string;
          /** @constant */
          name: 'dray';
          version: string;
        };
        /** Format: date-time */
        finishedAt: string;
        /** @description The mirror's id */
        mirror: string;
        /** @description What refers to the image and is at the target too: signatures, SBOMs, attestations */
        referrers: {
          artifactType: string;
          digest: string;
          subject: string;
          tag?: string;
        }[];
        /** @description What was asked for */
        selection: {
          /** @description Absent: every one */
          platforms?: string[];
          referrers: ('all' | 'none') | string[];
        };
        source: {
          digest: string;
          reference: string;
        };
        /** Format: date-time */
        startedAt: string;
        target: {
          digest: string;
          reference: string;
        };
        /** @description Who asked for it */
        tenant: string;
        /** @description How the target was read back, and what it holds */
        verification: {
          blobs: number;
          bytes: number;
          /** @description They live elsewhere by design, and were not copied */
          foreignLayers: string[];
          /** @enum {string} */
          level: 'manifests' | 'blobs' | 'full';
          manifests: number;
        };
      };
      /** @constant */
      predicateType: 'urn:dray:receipt:v1';
      subject: {
        /** @description By algorithm, in hex */
        digest: {
          [key: string]: string;
        };
        /** @description The target */
        name: string;
      }[];
    };
    ReceiptKey: {
      /** Format: date-time */
      createdAt: string;
      /** @constant */
      crv: 'P-256';
      /** @description SHA-256 of the key in DER, in hex: the `keyid` of a signature */
      kid: string;
      /** @constant */
      kty: 'EC';
      /** @description The same key, as openssl and cosign read it */
      pem: string;
      /**
       * Format: date-time
       * @description Absent: it is the one that signs
       */
      retiredAt?: string;
      /** @constant */
      use: 'sig';
      x: string;
      y: string;
    };
    ReceiptKeys: {
      keys: components['schemas']['ReceiptKey'][];
    };
    Share: {
      /** @description Of these, not at the target */
      missing: number;
      total: number;
    };
    StateEvent: {
      /** Format: date-time */
      at: string;
      /** @description Copies that were started so far */
      attempts: number;
      /** @description Skopeo's exit status, where it ran */
      exitCode?: number;
      /** @description Why it failed; of `queued`: why its last try did */
      failure?: components['schemas']['Failure'];
      /** @description The mirror's id */
      mirror: string;
      progress: {
        /** @description Compressed bytes; never fewer than before */
        bytesDone: number;
        /** @description 0 until it is known what there is to copy */
        bytesTotal: number;
        layersDone: number;
        layersTotal: number;
      };
      /**
       * @description `done`, `failed` and `cancelled` are final
       * @enum {string}
       */
      state: 'queued' | 'copying' | 'done' | 'failed' | 'cancelled';
      /** @constant */
      type: 'state';
      /** @description Of `queued`: when it is tried again. It ends with the next state */
      wait?: {
        /** @description Who asked for it; absent: our own pause before the next try */
        host?: string;
        /** Format: date-time */
        until: string;
      };
    };
  };
  responses: never;
  parameters: never;
  requestBodies: never;
  headers: never;
  pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
