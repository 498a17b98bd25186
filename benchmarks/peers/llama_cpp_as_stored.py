"""Keeps llama.cpp from repacking weights for AMX: version 0.3.36 crashes on repacked weights."""
import llama_cpp.llama_cpp


def keep_weights_as_stored():
    """Affects every model opened afterwards; the constructor has no argument for it."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_repacking():
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters

    llama_cpp.llama_cpp.llama_model_default_params = llama_cpp.llama_model_default_params = without_repacking
