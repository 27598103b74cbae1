"""A LLaVA with random weights and some thousand parameters, saved with its processor as any other is."""

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ("A", "B", "C", "What", "picture", "USER", "ASSISTANT", ":", ".", "Yes", "yes", "No", "no", "true", "red", "or")


def write_assistant(folder, words=WORDS, *, seed=0):
    """Save one into a folder, which it returns."""
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    vocabulary = [*special.values(), "<image>", *words]
    splitter = Tokenizer(models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    more = {"additional_special_tokens": ["<image>"]}
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=splitter, **special, **more)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = hf.CLIPVisionConfig(**small, num_hidden_layers=2, image_size=32, patch_size=16)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"num_hidden_layers": 1, "num_key_value_heads": 2, "max_position_embeddings": 128}
    text = hf.LlamaConfig(**small, **sizes, **ids, vocab_size=len(vocabulary), initializer_range=0.5)
    torch.manual_seed(seed)
    model = hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=4)
    )
    own = hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    options = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    processor = hf.LlavaProcessor(image_processor=own, tokenizer=tokenizer, **options)
    for part in (model, processor):
        part.save_pretrained(folder)
    return folder
