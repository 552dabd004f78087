// spiece.model through the SentencePiece library, which has no C interface: the only C++ in engine/text.
//
// spiece.c checks the bytes before the library sees them. Source: Kudo & Richardson 2018, arXiv:1808.06226; sentencepiece_model.proto.
#include <sentencepiece_processor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

extern "C" {
#include "engine/text/sentencepiece.h"
}

struct rg_spm {
    sentencepiece::SentencePieceProcessor processor;
};

extern "C" rg_spm *rg_spm_open(const void *data, size_t n, char *message, size_t n_message)
{
    try {
        rg_spm *s = new rg_spm;
        const sentencepiece::util::Status status = s->processor.LoadFromSerializedProto(std::string(static_cast<const char *>(data), n));
        if (status.ok())
            return s;
        snprintf(message, n_message, "%s", status.message());
        delete s;
    } catch (const std::exception &e) {
        snprintf(message, n_message, "%s", e.what());
    } catch (...) {
        snprintf(message, n_message, "the SentencePiece library refuses it");
    }
    return nullptr;
}

extern "C" void rg_spm_close(rg_spm *s)
{
    delete s;
}

extern "C" int rg_spm_size(const rg_spm *s)
{
    return s->processor.GetPieceSize();
}

extern "C" int rg_spm_end(const rg_spm *s)
{
    return s->processor.eos_id();
}

extern "C" bool rg_spm_encode(const rg_spm *s, const char *text, size_t n, bool (*push)(void *user, int32_t id), void *user)
{
    try {
        std::vector<int> ids;
        if (!s->processor.Encode(absl::string_view(text, n), &ids).ok())
            return false;
        for (int id : ids)
            if (!push(user, id))
                return false;
        return true;
    } catch (...) {
        return false;
    }
}
