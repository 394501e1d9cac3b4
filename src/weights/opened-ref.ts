import type { ModelDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { FileSource } from "../node/file-source.ts";
import type { Store } from "../store/store.ts";
import type { WeightSource } from "./weight-source.ts";

/** The target of a reference. Dispose it to close its files. */
export type OpenedRef = AsyncDisposable & { readonly name: string } & (
    | { readonly kind: "model"; readonly store: Store; readonly model: StoredModel }
    | { readonly kind: "files"; readonly draft: ModelDraft<FileSource> }
    | { readonly kind: "url"; readonly draft: ModelDraft }
    | { readonly kind: "weights"; readonly source: WeightSource }
  );
