"""llama.cpp on weights as the file has them: version 0.3.36 crashes over those that it has rearranged for AMX."""
import llama_cpp.llama_cpp


def keep_weights_as_stored():
    """For every model opened from now on; the constructor has no argument for it."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_repacking():
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters

    llama_cpp.llama_cpp.llama_model_default_params = llama_cpp.llama_model_default_params = without_repacking
